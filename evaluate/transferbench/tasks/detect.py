"""Object detection: boxes and masks from a detector trained on the backbone."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pydantic
from pydantic import Field

from transferbench import settings, state
from transferbench.backbones import Backbone
from transferbench.checkpoints import Candidate
from transferbench.detection import adaptation, backends
from transferbench.detection import cost as detector_cost
from transferbench.detection.backends import Backend
from transferbench.detection.model.detector import build
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.scoring import image_check, pictures
from transferbench.detection.scoring.scores import score_results
from transferbench.detection.targets import rle
from transferbench.detection.training.loop import Ground
from transferbench.detection.trial import Engine, Trial
from transferbench.errors import UserError
from transferbench.settings import Settings
from transferbench.tasks import Bench, Dataset, JobCost, Outcome

VERSION = "2"
FROZEN = False
PRIMARY = "box_ap"
LABELS = ("boxes",)


class Config(Settings):
    """A recipe of `detectron_configs/` and what differs from it (docs/protocols.md#detection).

    The network's keys in it follow the checkpoint (blocks, widths, mean and deviation), the number of classes the data.
    """

    recipe: str = Field("coco_R_50_C4_1x", description="a name in detectron_configs, or the path of a YAML file")
    overrides: tuple[str, ...] = Field(
        (), description="KEY VALUE KEY VALUE ..., as Detectron2's command line takes them"
    )
    batch_size: int | None = Field(
        None, ge=1, description="images per iteration; learning rate and iterations are scaled with it"
    )
    backend: Backend = Field("auto", description="what computes the detector; auto: detectron2 where it is installed")
    picture_every: int = Field(0, ge=0, description="draw detections every this many iterations; 0: at the end only")
    keep_weights: bool = Field(
        False, exclude=True, description="keep the trained detector as an artifact; part of no hash"
    )
    recipe_sha256: str = Field("", description="sha256 of the whole recipe; filled in, and refused if it differs")

    @pydantic.field_validator("overrides", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return tuple(str(word) for word in (value.split() if isinstance(value, str) else value))

    @pydantic.model_validator(mode="after")
    def _fingerprinted(self) -> "Config":
        try:
            recipe = self.resolved()
            mark = settings.sha256(recipe)
        except UserError as error:
            raise ValueError(str(error)) from None
        if self.recipe_sha256 not in ("", mark):
            raise ValueError(f"recipe_sha256 is {self.recipe_sha256[:12]}, and the recipe here has {mark[:12]}")
        object.__setattr__(self, "recipe_sha256", mark)
        object.__setattr__(self, "backend", backends.chosen(self.backend, recipe))
        return self

    def resolved(self, *more: str) -> DetectionRecipe:
        """The recipe in full, `more` overrides laid below these ones."""
        return adaptation.resolved(self.recipe, (*more, *self.overrides), self.batch_size)


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    batch = f", batch {config.batch_size}" if config.batch_size else ""
    half = ", half precision" if config.resolved().SOLVER.AMP.ENABLED else ""
    return f"{config.recipe}, box AP ({config.backend}{batch}{half})"


def unfit(candidate: Candidate, dataset: Dataset, config: Config) -> str | None:
    """Why the recipe cannot be run on this candidate and data, with what to do; None when it can."""
    try:
        rle.library()
        adapted = config.resolved(*adaptation.following(candidate.card, dataset.train))
    except UserError as error:
        return str(error)
    reason = adaptation.unfit(adapted, candidate.card, dataset.train, dataset.test)
    return reason or backends.unfit(config.backend, adapted, candidate.card.architecture)


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: new layers, order, flips and boxes are drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """The images that the detector is trained on, and a pass over the test images."""
    solver = config.resolved().SOLVER
    return JobCost((), n_test, solver.MAX_ITER * solver.IMS_PER_BATCH, batch=config.batch_size or 1)


def forecast(candidate: Candidate, dataset: Dataset, config: Config, bench: Bench) -> tuple[float, int]:
    """Seconds and bytes that `run` takes, from the detector's parts on one image."""
    _require(candidate, dataset, config)
    recipe = config.resolved(*adaptation.following(candidate.card, dataset.train))
    train, test = adaptation.chosen(recipe, dataset.train, dataset.test)
    detector = build(recipe, cast(Backbone, candidate.backbone), len(train.info.classes)).to(bench.runtime.device)
    image = detector_cost.of_image(detector, train, recipe)
    return detector_cost.total(image, recipe, len(test), bench.runtime.world_size, bench.workers)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Read every test image, train on the one split and judge on the other, once, after the last iteration."""
    _require(candidate, dataset, config)
    recipe = config.resolved(*adaptation.following(candidate.card, dataset.train))
    train, test = adaptation.chosen(recipe, dataset.train, dataset.test)
    image_check.require_readable(test, bench.runtime)
    mark = f"{candidate.digest} {candidate.card.preprocess} {train.fingerprint}"
    ground = Ground(bench.runtime, bench.scratch, mark, bench.workers)
    engine = backends.engine(config.backend, Trial(candidate, train, test, recipe, seed), ground)

    def watch(done: int) -> None:
        if bench.report is not None:
            bench.report(done, recipe.SOLVER.MAX_ITER)
        if config.picture_every and done % config.picture_every == 0:
            bench.keep("pictures.png", pictures.sheet(test, engine.predict()))

    curve = engine.train(watch)
    weights = _kept_weights(engine, recipe, bench) if config.keep_weights else {}
    last = engine.predict()
    scores, classes = score_results(last, test, recipe.MODEL.MASK_ON)
    kept = {
        "curve.jsonl": "".join(json.dumps(line) + "\n" for line in curve),
        "detections.json": json.dumps(last) + "\n",
        "classes.json": json.dumps(classes, indent=2) + "\n",
        "recipe.json": recipe.model_dump_json(indent=2) + "\n",
        "pictures.png": pictures.sheet(test, last),
    }
    if engine.loaded is not None:
        kept["loaded.json"] = json.dumps(asdict(engine.loaded)) + "\n"
    written = {name.partition(".")[0]: bench.keep(name, each) for name, each in kept.items()}
    return Outcome(tuple(scores), weights | written)


def _kept_weights(engine: Engine, recipe: DetectionRecipe, bench: Bench) -> dict[str, Path]:
    """The trained detector as a file, with its recipe in the header."""
    path = bench.scratch / "weights.safetensors"
    if bench.runtime.is_main:
        state.save_tensors(path, engine.trained_weights(), ("recipe", recipe.model_dump_json()))
    return {"weights": path}


def _require(candidate: Candidate, dataset: Dataset, config: Config) -> None:
    """Refuse what `unfit` says."""
    reason = unfit(candidate, dataset, config)
    if reason is not None:
        raise UserError(reason)
