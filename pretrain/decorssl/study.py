"""Studies: one small network trained with several methods, and the features it ends with."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from decorssl import checks, collapse, monitor, recipe, runlog, session, states, study_figures, study_results
from decorssl.catalog import STUDIES as FOLDER
from decorssl.catalog import study_names
from decorssl.loop import Training
from decorssl.recipe import Recipe
from decorssl.study_results import StudyResult, Verdict
from transferbench import runtime, settings, state
from transferbench.data import LabeledImages
from transferbench.data.dataset import open_test
from transferbench.data.unlabeled import open_split
from transferbench.errors import UserError
from transferbench.settings import Settings

names = study_names
REFERENCE = "random init"


class Variant(Settings):
    """One method of a study, and what papers claim of its embedding."""

    label: str
    method: str
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    claim: Verdict
    loss_weight: float = Field(1.0, gt=0, description="so that one learning rate fits losses of different scales")


class Study(Settings):
    """A recipe without a method, and the methods it is trained with."""

    summary: str
    about: str = Field(description="what the table begins with")
    groups: int = Field(ge=2, description="contiguous groups of channels whose correlation is measured")
    base: dict[str, Any]
    variants: dict[str, Variant] = Field(min_length=1)

    def recipe(self, name: str, seed: int, overrides: Sequence[str]) -> Recipe:
        """The recipe of a variant, with `a.b=v` overrides. Raises UserError for settings that do not fit."""
        variant = self.variants[name]
        own = {"name": name, "summary": variant.label, "method": variant.method, "settings": variant.settings}
        weighted = [f"optim.loss_weight={variant.loss_weight}", *overrides, f"seed={seed}"]
        return recipe.checked(settings.merged({**self.base, **own}, weighted))


def read(name: str) -> Study:
    """A study that comes with the package."""
    return settings.read(Study, FOLDER / f"{name}.yaml")


def run(
    study: Study, seeds: int, overrides: Sequence[str], out: Path, options: session.RunOptions, say: session.Say
) -> int:
    """Train every variant with every seed, then write tables and pictures; 0, or the signal that stopped it.

    Finished runs are found again and a stopped one goes on. All settings are checked before the first run.
    """
    here = runtime.start(options.device)
    if here.world_size > 1:
        raise UserError("A study runs in one process: start it without torchrun or srun.")
    chosen = {(name, seed): study.recipe(name, seed, overrides) for seed in range(seeds) for name in study.variants}
    root = options.data_root or runtime.data_root()
    for each in chosen.values():
        checks.check(each, len(session.training_images(each, root)), here)
    if not study_figures.HAS_MATPLOTLIB:
        say(study_figures.MISSING)
    for i, ((name, seed), each) in enumerate(chosen.items()):
        say(f"[{i + 1}/{len(chosen)}] {study.variants[name].label}, seed {seed}")
        if stopped := to_the_end(each, out / f"{name}-seed{seed}", replace(options, knn_every=0)):
            say("Stopped and saved. Run the same command to continue.")
            return stopped
    results = list(_measured(study, chosen, out, root, here))
    written = study_results.write(out, results, study.about)
    written += study_figures.draw(out, results) if study_figures.HAS_MATPLOTLIB else []
    say(study_results.markdown(results, study.about))
    say("\n".join(f"wrote {path}" for path in written))
    return 0


def to_the_end(each: Recipe, folder: Path, options: session.RunOptions, say: session.Say = lambda message: None) -> int:
    """Run to the end, which is the last step or a loss that is not finite; 0, or the signal that stopped it."""
    failure = folder / runlog.FAILURE
    failure.unlink(missing_ok=True)
    try:
        return session.run(each, folder, True, options, say)
    except UserError:
        if failure.is_file():
            return 0
        raise


def _measured(
    study: Study, chosen: dict[tuple[str, int], Recipe], out: Path, root: Path, here: runtime.Runtime
) -> Iterator[StudyResult]:
    """What became of every run, and of the untrained network of every seed."""
    for (name, seed), each in chosen.items():
        training = Training(each.resolved(here.device), session.training_images(each, root), here)
        if name == next(iter(study.variants)):
            yield _finding(study, REFERENCE, None, training, root)
        folder, variant = out / f"{name}-seed{seed}", study.variants[name]
        if path := states.newest(folder):
            training.restore(state.load(path))
        result = _finding(study, variant.label, variant.claim, training, root)
        is_finite = not (folder / runlog.FAILURE).is_file()
        yield replace(result, over_time=_over_time(folder / runlog.SPECTRA), is_finite=is_finite)


def _finding(study: Study, label: str, claim: Verdict | None, training: Training, root: Path) -> StudyResult:
    each = training.recipe

    def opened(split: str) -> LabeledImages:
        return open_split(each.data, split, root).ranged(each.image_range)

    test = open_test(opened, training.images.info)
    embedded, features = monitor.embeddings(training, monitor.probe(training))
    return StudyResult(
        label,
        claim,
        each.seed,
        collapse.spectrum(embedded, features.shape[1]),
        collapse.spectrum(features),
        *collapse.correlations(embedded, study.groups),
        collapse.redundancy(embedded, study.groups),
        monitor.accuracy(training, test),
    )


def _over_time(path: Path) -> tuple[tuple[int, float], ...]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return tuple((line["step"], line["embedding"]["rank_share"]) for line in lines)
