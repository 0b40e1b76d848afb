"""Objects found in images, boxes and masks, by a detector trained on the backbone."""

import json
from dataclasses import asdict
from typing import Any, cast

import pydantic
from pydantic import Field

from transferbench import settings
from transferbench.backbones import Backbone
from transferbench.checkpoints import Candidate
from transferbench.detection import adapting, codes, cost, pictures, results, training, views
from transferbench.detection.detector import build
from transferbench.detection.judging import judged
from transferbench.detection.load import load_backbone
from transferbench.detection.recipe import Recipe
from transferbench.errors import UserError
from transferbench.settings import Settings
from transferbench.tasks import Bench, Dataset, Outcome

VERSION = "1"
FROZEN = False
PRIMARY = "box_ap"
LABELS = "boxes"


class Config(Settings):
    """A recipe of `detectron_configs/` and what differs from it (spec/detection.md 2, "Protocol values", [code]).

    The network's keys in it follow the checkpoint (blocks, widths, mean and deviation), the number of classes the data.
    """

    recipe: str = Field("coco_R_50_C4_1x", description="a name in detectron_configs, or the path of a YAML file")
    overrides: tuple[str, ...] = Field(
        (), description="KEY VALUE KEY VALUE ..., as Detectron2's command line takes them"
    )
    batch_size: int | None = Field(None, ge=1, description="images an iteration; rates and iterations go with it")
    backend: str = Field("torchvision", pattern="^torchvision$", description="what computes the detector")
    picture_every: int = Field(0, ge=0, description="draw findings every so many iterations; 0: at the end only")
    recipe_sha256: str = Field("", description="of all the recipe says; filled in, and refused where it differs")

    @pydantic.field_validator("overrides", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return tuple(str(word) for word in (value.split() if isinstance(value, str) else value))

    @pydantic.model_validator(mode="after")
    def _fingerprinted(self) -> "Config":
        try:
            mark = settings.sha256(self.resolved())
        except UserError as error:
            raise ValueError(str(error)) from None
        if self.recipe_sha256 not in ("", mark):
            raise ValueError(f"recipe_sha256 is {self.recipe_sha256[:12]}, and the recipe here has {mark[:12]}")
        object.__setattr__(self, "recipe_sha256", mark)
        return self

    def resolved(self, *more: str) -> Recipe:
        """The recipe in full, `more` overrides laid below these ones."""
        return adapting.resolved(self.recipe, (*more, *self.overrides), self.batch_size)

    @property
    def updates(self) -> int:
        """Images that the detector is trained on."""
        solver = self.resolved().SOLVER
        return solver.MAX_ITER * solver.IMS_PER_BATCH


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    batch = f", batch {config.batch_size}" if config.batch_size else ""
    half = ", half precision" if config.resolved().SOLVER.AMP.ENABLED else ""
    return f"{config.recipe} ({config.backend}{batch}{half})"


def unfit(candidate: Candidate, dataset: Dataset, config: Config) -> str | None:
    """Why the recipe cannot be run on this candidate and data, with what to do; None when it can."""
    try:
        codes.library()
        adapted = config.resolved(*adapting.following(candidate.card, dataset.train))
    except UserError as error:
        return str(error)
    return adapting.unfit(adapted, candidate.card, dataset.train, dataset.test)


def forecast(candidate: Candidate, dataset: Dataset, config: Config, bench: Bench) -> tuple[float, int]:
    """Seconds and bytes that `run` takes, from the detector's parts on one image."""
    codes.library()
    recipe = config.resolved(*adapting.following(candidate.card, dataset.train))
    adapting.required(recipe, candidate.card, dataset.train, dataset.test)
    detector = build(recipe, cast(Backbone, candidate.backbone), len(dataset.train.info.classes)).to(
        bench.runtime.device
    )
    image = cost.of_image(detector, dataset.train, recipe)
    return cost.total(image, recipe, len(dataset.test), bench.runtime.world_size, bench.workers)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Train on the one split and judge on the other, once, after the last iteration."""
    codes.library()
    train, test, device = dataset.train, dataset.test, bench.runtime.device
    recipe = config.resolved(*adapting.following(candidate.card, train))
    adapting.required(recipe, candidate.card, train, test)
    backbone = cast(Backbone, candidate.backbone).to(device)
    detector = build(recipe, backbone, len(train.info.classes), seed).to(device)
    seen = views.sample(train, 0, recipe.INPUT.MIN_SIZE_TEST, recipe.INPUT.MAX_SIZE_TEST)
    loaded = load_backbone(detector, backbone.state_dict(), backbone, seen.pixels)

    def found() -> results.Results:
        return results.found(detector, test, recipe, bench.runtime)

    def watch(done: int) -> None:
        if bench.report is not None:
            bench.report(done, recipe.SOLVER.MAX_ITER)
        if config.picture_every and done % config.picture_every == 0:
            bench.keep("pictures.png", pictures.sheet(test, found()))

    mark = f"{candidate.digest} {candidate.card.preprocess} {train.fingerprint}"
    ground = training.Ground(bench.runtime, bench.scratch, mark, bench.workers, watch)
    curve = training.train(detector, train, recipe, seed, ground)
    last = found()
    scores, classes = judged(last, test, recipe.MODEL.MASK_ON)
    kept = {
        "curve.jsonl": "".join(json.dumps(line) + "\n" for line in curve),
        "detections.json": json.dumps(last) + "\n",
        "classes.json": json.dumps(classes, indent=2) + "\n",
        "loaded.json": json.dumps(asdict(loaded)) + "\n",
        "recipe.json": recipe.model_dump_json(indent=2) + "\n",
        "pictures.png": pictures.sheet(test, last),
    }
    return Outcome(tuple(scores), {name.partition(".")[0]: bench.keep(name, each) for name, each in kept.items()})
