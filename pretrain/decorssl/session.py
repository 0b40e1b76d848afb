"""One `pretrain` call: open the run, train, monitor, save, stop on a signal."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import torch

from decorssl import (
    capacity,
    checks,
    compiling,
    curves,
    image_list,
    online_probe,
    pace,
    recipe_changes,
    run_lock,
    runlog,
    view_pipeline,
)
from decorssl.bad_images import BadImageReplacer
from decorssl.loop import Step, Training
from decorssl.monitor import LinearMonitor, Monitor, Watch
from decorssl.recipe import Recipe
from decorssl.runlog import RunLog
from decorssl.view_pipeline import Way
from decorssl.views import Views
from transferbench import plugins, renamed, runtime, settings, state
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.dataset import Opener, open_test
from transferbench.data.live import LabeledSplits
from transferbench.data.subsets import limited
from transferbench.data.unlabeled import open_split
from transferbench.errors import UserError
from transferbench.fields import shown
from transferbench.runtime.signals import StopSignal

Say = Callable[[str], None]
Watchers = tuple[Monitor, LinearMonitor, Watch, BadImageReplacer]

MEASURED = 3
"""Steps after the first, which is slower, that the time left is reckoned from at least."""


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run runs; nothing here can change its result, beyond how it is rounded.

    `live` are the images that the recipe's `data` names, where they were handed over in Python.
    """

    device: str = "auto"
    workers: int | None = None
    data_root: Path | None = None
    knn_every: int = 10
    watch_every: int = 1
    save_seconds: float = 60.0
    keep_states: int = runlog.KEEP
    bad_images: int = 0
    log: tuple[str, ...] = ()
    views: Way = "auto"
    compile: compiling.Mode = "off"
    linear_every: int = 0
    live: LabeledSplits | None = None

    @property
    def root(self) -> Path:
        """The folder of data sets."""
        return self.data_root or runtime.data_root()


def run(recipe: Recipe, out: Path | None, resume: bool, options: RunOptions, say: Say) -> int:
    """Train the recipe in its folder; 0, or the number of the signal that stopped it before its end, saved."""
    here = runtime.start(options.device)
    try:
        return _run(
            recipe.resolved(here.device), out, resume, options, here, say if here.is_main else lambda message: None
        )
    finally:
        runtime.stop()


def folder_of(recipe: Recipe) -> Path:
    """The default folder of a recipe's run."""
    return Path("runs") / f"{recipe.name}-seed{recipe.seed}"


def with_split(recipe: Recipe, overrides: Sequence[str], options: RunOptions) -> Recipe:
    """The recipe on the split `train` where other data were asked for that lack its split, and no split was."""
    asked = {override.partition("=")[0] for override in overrides}
    if recipe.split == "train" or "data" not in asked or "split" in asked:
        return recipe
    splits = opener(recipe, options.root, options.live)("train").info.splits
    return recipe if recipe.split in splits else recipe.model_copy(update={"split": "train"})


def training_images(recipe: Recipe, root: Path, live: LabeledSplits | None = None) -> LabeledImages:
    """The images that a recipe pretrains on, with `root` as the folder of data sets, or those that were handed over.

    Raises:
        UserError: when there are none, naming the splits that there are.
    """
    try:
        images = opener(recipe, root, live)(recipe.split)
    except UserError as error:
        raise UserError(f"{error}{_other_splits(recipe, opener(recipe, root, live))}") from None
    return images if recipe.limit is None else limited(images, recipe.limit, recipe.seed)


def _other_splits(recipe: Recipe, opened: Opener) -> str:
    """What to do where the recipe's split is lacking and `train` is there; empty where that is not the fault."""
    try:
        splits = () if recipe.split == "train" else opened("train").info.splits
    except UserError:
        return ""
    if not splits or recipe.split in splits:
        return ""
    return (
        f"\nThe recipe {recipe.name} trains on the split '{recipe.split}', which {shown(recipe.data)} does not have "
        f"(it has: {', '.join(splits)}). Add --set split=train."
    )


def opener(recipe: Recipe, root: Path, live: LabeledSplits | None = None) -> Opener:
    """Opens a split of the recipe's data set, or of the one that was handed over."""

    def opened(split: str) -> LabeledImages:
        images = live.open_split(split) if live else open_split(recipe.data, split, root)
        return images.ranged(recipe.image_range)

    return opened


def _run(recipe: Recipe, out: Path | None, resume: bool, options: RunOptions, here: runtime.Runtime, say: Say) -> int:
    folder = out or folder_of(recipe)
    curves.check(options.log)
    state.require_writable(folder)
    _check_folder(folder, recipe, resume or runtime.is_restart(), options)
    here.barrier()
    if (folder / runlog.BACKBONE).is_file():
        say(f"This run is finished: {folder / runlog.BACKBONE}")
        return 0
    images = training_images(recipe, options.root, options.live)
    test = _watched(recipe, images, options, here, say)
    replacer = BadImageReplacer(images, options.bad_images, folder)
    workers = runtime.worker_count() if options.workers is None else options.workers
    runtime.share_cores(workers)
    prepare = compiling.prepare(options.compile, say)
    if here.is_main:
        view_pipeline.compile_first(Views(recipe.views, recipe.preprocess), here.device, options.views, say)
    here.barrier()
    training = Training(recipe, replacer.images, here, workers, options.views, prepare)
    if options.linear_every and not _missing(images):
        training.companions[online_probe.NAME] = online_probe.OnlineProbe(training)
    folder.mkdir(parents=True, exist_ok=True)
    asked = options.log if here.is_main else ()
    with (
        run_lock.held(folder, here),
        curves.opened(folder, asked, recipe.model_dump(mode="json")) as sinks,
        runlog.open_run(folder, training, sinks, options.keep_states, say) as log,
    ):
        try:
            return _trained(training, log, options, (replacer, test), say)
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)
        raise capacity.out_of_memory(training)


def _check_folder(folder: Path, recipe: Recipe, resume: bool, options: RunOptions) -> None:
    """Refuse a folder that holds something else; a batch may be another one because there are other images."""
    try:
        runlog.check_folder(folder, recipe, resume)
    except UserError as error:
        told = ""
        with suppress(UserError):
            if (
                resume
                and settings.from_file(folder / runlog.RECIPE).get("data") == recipe.model_dump(mode="json")["data"]
            ):
                told = image_list.noted(folder, training_images(recipe, options.root, options.live))
        raise UserError(f"{error}{told}") from None


def _watched(
    recipe: Recipe, images: LabeledImages, options: RunOptions, here: runtime.Runtime, say: Say
) -> LabeledImages | None:
    """The images on which accuracies are measured while training, if they are; what is left out is said."""
    missing, accuracies = _missing(images), _accuracies(options)
    if missing and accuracies:
        left_out = f"{' and '.join(accuracies)} while training {'are' if accuracies[1:] else 'is'} left out"
        say(f"{images.info.name} has no {missing}: {left_out}.")
    is_watched = accuracies and here.is_main and not missing
    test = open_test(opener(recipe, options.root, options.live), images.info) if is_watched else None
    for note in dict.fromkeys((*images.notes, *(test.notes if test else ()))):
        say(note)
    return test


def _trained(
    training: Training,
    log: RunLog,
    options: RunOptions,
    watched: tuple[BadImageReplacer, LabeledImages | None],
    say: Say,
) -> int:
    """Train, watch and leave the backbone."""
    recipe, images, folder = training.recipe, training.images, log.folder
    replacer, test = watched
    say(f"{recipe_changes.described(recipe)}\n{_plan(training)}, in {folder}")
    for note in checks.notes(recipe, training.steps_per_epoch):
        say(note)
    if training.done:
        say(f"Resuming after step {training.done}")
    is_main = training.runtime.is_main
    monitor = Monitor(training, test, options.knn_every)
    linear = LinearMonitor(training, test, options.linear_every)
    watch = Watch(training, options.watch_every if is_main else 0)
    if stopped := _train(training, log, (monitor, linear, watch, replacer), options.save_seconds, say):
        say(f"Stopped by {Signals(stopped).name} and saved. Run the same command with --resume to continue.")
        return stopped
    path = log.finish()
    if is_main:
        say(pace.table([pace.read(folder)]))
    say(f"The backbone is {path}\nEvaluate it with:  {_to_evaluate(path, recipe, images.info, options)}")
    return 0


def _to_evaluate(path: Path, recipe: Recipe, info: DatasetInfo, options: RunOptions) -> str:
    """The command that evaluates a backbone, on other data where these cannot be judged on."""
    missing = lacking(info)
    if options.live and not missing:
        return f"transferbench.evaluate({str(path)!r}, data=...)"
    family = recipe.backbone.family
    allowed = f" --code {family}" if plugins.is_outside(family) else ""
    ranged = "".join(f" {value:.10g}" for value in recipe.image_range or ())
    asked = f" --image-range{ranged}" * bool(ranged)
    where = "\nLABELED: a folder or zip with train/CLASS/* and val/CLASS/*." if missing else ""
    return f"evaluate all {path} --data {'LABELED' if missing else shown(recipe.data)}{asked}{allowed}{where}"


def _missing(images: LabeledImages) -> str:
    """What training images lack for accuracies to be measured with them; empty when they lack nothing."""
    return lacking(images.info) or ("" if (images.labels >= 0).any() else "labels")


def _accuracies(options: RunOptions) -> list[str]:
    """Which accuracies are to be measured while training."""
    every = {"k-NN": options.knn_every, "the linear probe": options.linear_every}
    return [name for name, epochs in every.items() if epochs]


def _plan(training: Training) -> str:
    """How many images are seen for how many epochs."""
    recipe, images = training.recipe, training.images
    seen = training.steps_per_epoch * recipe.batch_size
    rest = f" ({seen} an epoch: the last incomplete batch is dropped)" if seen < len(images) else ""
    return f"{len(images)} images of {images.info.name}{rest}, {recipe.epochs} epochs, {recipe.precision}"


def lacking(info: DatasetInfo) -> str:
    """What a data set lacks to be judged on; empty when it lacks nothing."""
    if info.carries == "one label" and len(info.classes) < 2:
        return "labels"
    return "" if info.test_split in info.splits else "test images"


def _train(training: Training, log: RunLog, watchers: Watchers, save_seconds: float, say: Say) -> int:
    """Take every step there is to take; 0, or the number of the signal that came, after a step and saved."""
    monitor, linear, watch, replacer = watchers
    with StopSignal() as stop:
        for step in _with_progress(training, say):
            log.add(step)
            if (accuracy := monitor.after(step)) is not None:
                log.note({"step": step.index, "epoch": step.epoch, "knn": accuracy})
                say(f"epoch {step.epoch + 1}: k-NN {accuracy:.1f} %")
            if (accuracy := linear.after(step)) is not None:
                log.note({"step": step.index, "epoch": step.epoch, online_probe.NAME: accuracy})
                say(f"epoch {step.epoch + 1}: linear {accuracy:.1f} %")
            if (line := watch.after(step)) is not None:
                log.note(line, runlog.SPECTRA)
                if line["alarm"]:
                    say(f"epoch {step.epoch + 1}: {line['alarm']}")
            if (count := replacer.after(step, training)) is not None:
                log.note({"step": step.index, "epoch": step.epoch, "bad_images": count})
                say(f"epoch {step.epoch + 1}: {count} images could not be decoded and were replaced: {replacer.FILE}")
            log.save_if_due(save_seconds)
            if stop.agreed(training.runtime) and step.index < training.total_steps:
                log.save()
                return stop.shared(training.runtime)
    return 0


def _with_progress(training: Training, say: Say) -> Iterator[Step]:
    """The steps of `training`, shown as a bar with the time left, or as a line now and then without a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    first, began, shown = training.done, 0.0, 0.0
    quiet = not (training.runtime.is_main and sys.stdout.isatty())
    with Progress(TextColumn("{task.description}"), *columns, disable=quiet) as bar:
        task = bar.add_task("starting", total=training.total_steps, completed=first)
        spent = waited = 0.0
        for step in training.steps():
            now = time.monotonic()
            if began:
                spent, waited = spent + step.seconds, waited + step.waited
            else:  # the first step starts loader processes and libraries: it tells nothing of the others
                first, began = step.index, now
            if now - shown > 10 or step.index == training.total_steps:
                text = f"epoch {step.epoch + 1}/{training.recipe.epochs}  loss {step.terms['loss'].item():.3f}"
                text += f"  {100 * waited / spent:.0f} % of the time waiting for images" if spent else ""
                shown, spent, waited = now, 0.0, 0.0
                bar.update(task, description=text)
                if quiet:
                    text += f"  step {step.index}/{training.total_steps}"
                    if (measured := step.index - first) >= MEASURED:
                        text += f"  {(now - began) / measured * (training.total_steps - step.index):.0f} s left"
                    say(text)
            bar.update(task, completed=step.index)
            yield step


__getattr__ = renamed.names_of(__name__)
