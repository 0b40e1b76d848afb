"""The run folder: recipe, environment, a line a step, spectra, the state to go on from, and in the end the backbone."""

import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

from decorssl import image_list, recipe_changes
from decorssl.catalog import PROSE
from decorssl.curves import Curves, lines
from decorssl.diagnosis import diagnosis, message
from decorssl.loop import Step, Training
from decorssl.methods import Dealt
from decorssl.recipe import LATER, Recipe
from decorssl.states import Say, States, newest, paths, unwritten
from transferbench import runtime, settings, state
from transferbench.checkpoints import Card, Origin, save
from transferbench.errors import UserError

RECIPE, ENVIRONMENT, FAILURE = "recipe.json", "environment.json", "failure.json"
STEPS, SPECTRA = "steps.jsonl", "spectra.jsonl"
FILES = (STEPS, SPECTRA)
BACKBONE, TEACHER = "backbone.safetensors", "teacher.safetensors"
KEEP = 2
"""How many states are kept by default."""


class RunLog:
    """One run's folder, written by the main process. Losses are read off the device one step late, without waiting."""

    def __init__(self, folder: Path, training: Training, curves: Curves, keep: int) -> None:
        self.folder, self.training, self.curves = folder, training, curves
        self.states = States(folder, keep)
        self.pending: Step | None = None
        self.last: Step | None = None
        self.saved_at = time.monotonic()
        names = FILES if training.runtime.is_main else ()
        self.files = {name: (folder / name).open("a", buffering=1) for name in names}

    def add(self, step: Step) -> None:
        """Note a finished step; its line is written when the next one comes."""
        self._flush()
        self.pending = step

    def note(self, entry: dict[str, Any], name: str = STEPS) -> None:
        """Append one JSON line with its `step` to the file called `name`, after the steps before it."""
        self._flush()
        self._write(entry, name)

    def save(self) -> None:
        """Save the state to go on from; one that is not finite, or whose loss was not, never replaces a good one."""
        self._begin()
        self.states.wait()

    def save_if_due(self, seconds: float) -> None:
        """Start an asynchronous save when the last one is done and `seconds` old."""
        if time.monotonic() - self.saved_at >= seconds and not self.states.is_busy:
            self._begin()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Wait for the state being written, unless somebody is in a hurry."""
        if kind is not KeyboardInterrupt:
            self.states.close()

    def finish(self) -> Path:
        """Write the backbone with its card, and the teacher's where there is one; returns the backbone's path."""
        self.save()
        path, training = self.folder / BACKBONE, self.training
        if training.runtime.is_main:
            name = recipe_changes.name_of(training.recipe)
            if training.teacher:
                taught = training.teacher.judged
                save.save(self.folder / TEACHER, taught.state_dict(), card(training, f"{name} (teacher)"))
            save.save(path, training.encoder.judged.state_dict(), card(training, name))
        return path

    def _begin(self) -> None:
        self._flush()
        if self.training.runtime.is_main:
            what = "Weights, running averages or optimizer state are not finite"
            last = self.last
            failed = partial(self._failure, last, what) if last else lambda: ValueError(what)
            self.states.begin(self.training.done, self.training.state(), failed)
        self.saved_at = time.monotonic()

    def _flush(self) -> None:
        """Write the step that is waiting; a loss that is not finite ends the run here."""
        self.states.check()
        if self.pending is None:
            return
        step, self.pending = self.pending, None
        terms = {name: value.item() for name, value in step.terms.items()}
        if not math.isfinite(terms["loss"]):
            raise self._failure(step, f"The loss is {terms['loss']}")
        self.last = step
        times = {"seconds": round(step.seconds, 4), "waited": round(step.waited, 4)}
        self._write({"step": step.index, "epoch": step.epoch, **terms, "lr": step.lr, **times}, STEPS)

    def _failure(self, step: Step, what: str) -> UserError:
        """The error that ends the run, its report left in the folder by whichever process meets it."""
        facts = diagnosis(step, self.training.recipe, what)
        state.write_json(self.folder / FAILURE, facts)
        last = next((path.name for path in paths(self.folder)), "none was saved yet")
        return UserError(message(facts, self.folder, last))

    def _write(self, entry: dict[str, Any], name: str) -> None:
        if self.training.runtime.is_main:
            try:
                self.files[name].write(json.dumps(entry) + "\n")
            except OSError as error:
                raise unwritten(self.folder / name, error) from None
            self.curves.add(entry, name)


def check_folder(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse a folder that holds something else than the beginning of this run.

    Raises:
        UserError: when it holds a run and `resume` is off, or a run of another recipe, or something that is no file
            where one is to be written.
    """
    for name in (RECIPE, ENVIRONMENT, FAILURE, image_list.FILE, *FILES, BACKBONE, TEACHER):
        state.require_replaceable(folder / name)
    if not (folder / RECIPE).is_file():
        return
    if not resume:
        raise UserError(f"{folder} already holds a run. Resume it with --resume, or choose another --out.")
    before, now = settings.from_file(folder / RECIPE), recipe.model_dump(mode="json")
    keys = dict.fromkeys([*now, *(key for key in LATER if key in before)])
    differing = [key for key in keys if before.get(key) != now.get(key) and key not in PROSE]
    changed = [f"  {key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in differing]
    if changed:
        raise UserError(
            f"{folder} holds a run with other settings, so it cannot be resumed:\n" + "\n".join(changed) + "\n"
            f"Run it with --recipe {folder / RECIPE}, or choose another --out."
        )


def open_run(
    folder: Path,
    training: Training,
    curves: Curves | None = None,
    keep: int = KEEP,
    say: Say = lambda message: None,
) -> RunLog:
    """Prepare the run's folder, and go on from the newest whole state that lies there, if one does.

    `curves` are sent what the folder holds of steps already made, and every line from then on; `keep` states stay.

    Raises:
        UserError: when there are states and none is whole, or only one that an earlier version wrote, or when the
            images are not those that it was trained on so far.
    """
    here = training.runtime
    saved = here.gather_objects(newest(folder, say) if here.is_main else None)[0]
    reached = state.load(saved) if saved else None
    if reached:
        image_list.require_same(folder, training.images, reached.get("data"), say)
    if here.is_main:
        state.write_json(folder / RECIPE, training.recipe.model_dump(mode="json"))
        state.write_json(folder / ENVIRONMENT, runtime.environment())
        if not reached or not (folder / image_list.FILE).is_file():
            image_list.write(folder, training.images)
    if reached:
        training.restore(reached)
        if reached["processes"] != here.world_size:
            say(_on_others(training, reached["processes"]))
        for name in sorted(training.companions.keys() - reached.get("companions", {}).keys()):
            say(f"The {name} probe begins after step {training.done}: the run was saved without one.")
    if here.is_main:
        for name in FILES:
            _drop_steps_after(folder / name, training.done)
        (folder / FAILURE).unlink(missing_ok=True)
    curves = curves or Curves()
    curves.replay(folder, FILES)
    return RunLog(folder, training, curves, keep)


def card(training: Training, name: str) -> Card:
    """The card of a backbone this run makes, called `name`."""
    recipe = training.recipe
    origin = Origin(
        method=recipe.method,
        recipe=name,
        recipe_sha256=recipe.sha256,
        data=training.images.info.name,
        epochs=recipe.epochs,
        seed=recipe.seed,
        commit=runtime.environment()["commit"],
    )
    return Card(architecture=training.encoder.judged.architecture, preprocess=recipe.preprocess, origin=origin)


def _on_others(training: Training, before: int) -> str:
    """What is the same and what is not when so many processes saved a state and others go on with it."""
    batch, now = training.recipe.batch_size, training.runtime.world_size
    text = (
        f"Saved by {before} processes, resumed by {now}: schedule, images, their order and views, queues, teacher and "
        "optimizer are what they would have been; sums are rounded differently, so weights will differ slightly."
    )
    if isinstance(training.method, Dealt) and training.method.PER_PROCESS:
        text += (
            f" The loss is not: {training.recipe.method} computes it over the images of one process, now "
            f"{batch // now} and not {batch // before}, with other random draws."
        )
    if training.recipe.micro_batch_size:
        text += " Batch statistics differ too: each part of micro_batch_size holds other images."
    return text


def _drop_steps_after(path: Path, done: int) -> None:
    """Forget logged steps that the restored state has not made, and a line cut short."""
    if not path.is_file():
        return
    kept = [json.dumps(entry) for entry in lines(path) if entry["step"] <= done]
    state.write(path, "".join(f"{line}\n" for line in kept))
