"""Several methods with one recipe, each with several seeds: trained one after another, then judged by one suite."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decorssl import checks, crossing, runlog, session, study
from decorssl.recipe import Recipe
from transferbench import runtime
from transferbench.errors import UserError


@dataclass(frozen=True)
class Entry:
    """A run of the contest, and its folder."""

    recipe: Recipe
    folder: Path

    @property
    def backbone(self) -> Path:
        """What it leaves, unless its loss ceased to be finite."""
        return self.folder / runlog.BACKBONE

    @property
    def has_failed(self) -> bool:
        """Whether its loss ceased to be finite."""
        return (self.folder / runlog.FAILURE).is_file() and not self.backbone.is_file()


def entries(
    methods: Sequence[str],
    start: tuple[str | None, str | None],
    seeds: int,
    overrides: Sequence[str],
    out: Path,
    root: Path,
) -> list[Entry]:
    """A run of each method with each seed, seed by seed, so that every method is soon there once.

    Args:
        start: the names of a recipe and of a network, or none; as `crossing.chosen` takes them.

    Raises:
        UserError: when a method is named twice, or with every setting that does not fit.
    """
    if len(set(methods)) < len(methods):
        raise UserError(f"Each method runs once: found {', '.join(methods)}. More runs of it: --seeds N.")
    recipe, network = start
    first = {name: crossing.chosen(name, recipe, [*overrides, "seed=0"], root, network) for name in methods}
    return [
        Entry(each.model_copy(update={"seed": seed}), out / f"{name}-seed{seed}")
        for seed in range(seeds)
        for name, each in first.items()
    ]


def judged_on(runs: Sequence[Entry], asked: str | None, root: Path) -> str:
    """The data that the backbones are judged on: those asked for, or those they were trained on.

    Raises:
        UserError: when these cannot be judged on, and none are asked for.
    """
    recipe = runs[0].recipe
    info = session.training_images(recipe, root).info
    if asked is None and (missing := session.lacking(info)):
        raise UserError(
            f"{info.name} has no {missing}, so nothing can be judged on it. Name data that have: --judge D."
        )
    return asked or str(recipe.data)


def train(runs: Sequence[Entry], options: session.RunOptions, say: session.Say) -> int:
    """Train them to their ends; 0, or the signal that stopped it. What is finished is found, what was stopped goes on.

    Raises:
        UserError: before the first run, when one cannot work.
    """
    here = runtime.start(options.device)
    if here.world_size > 1:
        raise UserError("Runs are compared in one process: start it without torchrun or srun, or with --slurm.")
    root = options.data_root or runtime.data_root()
    for each in runs:
        if each.recipe.seed == runs[0].recipe.seed:  # what else a seed draws cannot make it unfit
            checks.check(each.recipe.resolved(here.device), len(session.training_images(each.recipe, root)), here)
    own, spent = replace(options, knn_every=0), list[float]()
    for i, each in enumerate(runs):
        left = f", about {_duration(sum(spent) / len(spent) * (len(runs) - i))} left" if spent else ""
        say(f"[{i + 1}/{len(runs)}] {each.recipe.summary}, seed {each.recipe.seed}{left}")
        begun, is_there = time.monotonic(), each.backbone.is_file()
        if stopped := study.to_the_end(each.recipe, each.folder, own, _indented(say)):
            return stopped
        if each.has_failed:
            say(f"  its loss ceased to be finite: {each.folder / runlog.FAILURE}")
        elif not is_there:
            spent.append(time.monotonic() - begun)
    return 0


def _indented(say: session.Say) -> session.Say:
    return lambda message: say("\n".join(f"  {line}" for line in message.splitlines()))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
