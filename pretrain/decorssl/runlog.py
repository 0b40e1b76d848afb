"""The run folder: recipe, environment, one line a step, the state to go on from, and in the end the backbone."""

import json
import math
import time
from pathlib import Path
from typing import Any

from decorssl.loop import Step, Training
from decorssl.recipe import Recipe
from transferbench import runtime, settings, state
from transferbench.checkpoints import Card, Origin, save
from transferbench.errors import UserError

RECIPE, ENVIRONMENT, STEPS = "recipe.json", "environment.json", "steps.jsonl"
STATE, BACKBONE = "state.safetensors", "backbone.safetensors"


class RunLog:
    """One run's folder. Losses are read off the device one step late, so that logging waits for nothing."""

    def __init__(self, folder: Path, training: Training) -> None:
        self.folder, self.training = folder, training
        self.pending: Step | None = None
        self.saved_at = time.monotonic()
        self.lines = (folder / STEPS).open("a", buffering=1)

    def add(self, step: Step) -> None:
        """Note a finished step; the line is written with the next one."""
        self.flush()
        self.pending = step

    def flush(self) -> None:
        """Write the step that is waiting.

        Raises:
            UserError: when its loss is not finite; the last saved state is kept.
        """
        if self.pending is None:
            return
        step, self.pending = self.pending, None
        terms = {name: value.item() for name, value in step.terms.items()}
        if not math.isfinite(terms["loss"]):
            raise UserError(
                f"The loss is {terms['loss']} at step {step.index} (epoch {step.epoch}; {terms}). The last good state is "
                f"kept in {self.folder}. Lower optim.lr, lengthen optim.warmup_epochs or use precision=float32, "
                "with another --out."
            )
        seconds, waited = round(step.seconds, 4), round(step.waited, 4)
        self.note({"step": step.index, "epoch": step.epoch, **terms, "lr": step.lr, "seconds": seconds, "waited": waited})

    def note(self, entry: dict[str, Any]) -> None:
        """Append one JSON line."""
        self.lines.write(json.dumps(entry) + "\n")

    def save(self) -> None:
        """Save the state to go on from; refuses to replace a good one by one whose loss was not finite."""
        self.flush()
        state.save(self.folder / STATE, self.training.state())
        self.saved_at = time.monotonic()

    def save_if_due(self, seconds: float) -> None:
        """Save when the last save is `seconds` ago."""
        if time.monotonic() - self.saved_at >= seconds:
            self.save()

    def finish(self) -> Path:
        """Write the backbone with its card; returns its path."""
        self.save()
        path = self.folder / BACKBONE
        save.save(path, self.training.encoder.backbone.state_dict(), card(self.training.recipe))
        return path


def open_run(folder: Path, recipe: Recipe, training: Training, resume: bool) -> RunLog:
    """Prepare the folder: a new run, or with `resume` the one that lies there, its state restored.

    Raises:
        UserError: when the folder holds a run and `resume` is off, or holds a run of another recipe.
    """
    if (folder / RECIPE).is_file():
        _check_same(folder, recipe, resume)
    folder.mkdir(parents=True, exist_ok=True)
    state.write_json(folder / RECIPE, recipe.model_dump(mode="json"))
    state.write_json(folder / ENVIRONMENT, runtime.environment())
    if (folder / STATE).is_file():
        training.restore(state.load(folder / STATE))
    _drop_steps_after(folder / STEPS, training.done)
    return RunLog(folder, training)


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run's backbone."""
    return (folder / BACKBONE).is_file()


def card(recipe: Recipe) -> Card:
    """The card of the backbone this recipe makes."""
    origin = Origin(
        method=recipe.method,
        recipe=recipe.name,
        recipe_sha256=recipe.sha256,
        data=recipe.data,
        epochs=recipe.epochs,
        seed=recipe.seed,
        commit=runtime.environment()["commit"],
    )
    return Card(architecture=recipe.backbone, preprocess=recipe.preprocess, origin=origin)


def _check_same(folder: Path, recipe: Recipe, resume: bool) -> None:
    if not resume:
        raise UserError(f"{folder} already holds a run. Go on with it (--resume), or choose another --out.")
    before = settings.from_file(folder / RECIPE)
    now = recipe.model_dump(mode="json")
    changed = [f"  {key}: {before.get(key)!r} there, {now[key]!r} now" for key in now if before.get(key) != now[key]]
    if changed:
        raise UserError(
            f"{folder} holds a run of another recipe, so it cannot be gone on with:\n" + "\n".join(changed) + "\n"
            f"Run it with --recipe {folder / RECIPE}, or choose another --out."
        )


def _drop_steps_after(path: Path, done: int) -> None:
    """Forget logged steps that the restored state has not made, and a line cut short."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= done:
                kept.append(line)
        except json.JSONDecodeError:
            break
    state.write(path, "".join(f"{line}\n" for line in kept))
