"""A run's numbers as curves in TensorBoard or Weights & Biases, from the lines of its own files; neither is needed."""

import importlib
import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transferbench import settings, state
from transferbench.errors import UserError, unknown

BOARD, WANDB_RUN = "tensorboard", "wandb-run.json"
NUMBERS = {"epoch", "seconds", "waited", "knn", "linear", "loss", "lr"}
"""What is a number in every line that has it."""
Values = dict[str, float]


@runtime_checkable
class Sink(Protocol):
    """Where curves go; it takes steps in order."""

    def send(self, values: Values, step: int) -> None:
        """The values of a step; several calls may be of the same."""
        ...

    def close(self) -> None:
        """Write what is waiting."""
        ...


class Curves:
    """All sinks of a run. Each has every line of the run's files once, whenever it was asked for."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks = sinks

    def add(self, entry: Mapping[str, Any], name: str) -> None:
        """Send the numbers of one line of the file called `name`."""
        values = scalars(entry, Path(name).stem) if self.sinks else {}
        for sink in self.sinks:
            sink.send(values, entry["step"])

    def replay(self, folder: Path, names: Sequence[str]) -> None:
        """Send the lines that the files of a run hold already, in the order of their steps."""
        sent = [(line, name) for name in names if self.sinks for line in lines(folder / name)]
        for entry, name in sorted(sent, key=lambda each: each[0]["step"]):
            self.add(entry, name)


def scalars(entry: Mapping[str, Any], prefix: str) -> Values:
    """The finite numbers of a line by path, such as `spectra/embedding/stable_rank`; `step` and lists are left out."""
    values: Values = {}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            values |= scalars(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step" and math.isfinite(value):
            values[f"{prefix}/{name}"] = float(value)
    return values


def check(names: Sequence[str]) -> None:
    """Refuse, before anything is spent, a sink that is unknown or whose package is not here.

    Raises:
        UserError: with the command that installs the package.
    """
    for name in names:
        if name not in SINKS:
            raise unknown("place for curves", name, SINKS)
        _imported(name)


@contextmanager
def opened(folder: Path, names: Sequence[str], config: Mapping[str, Any]) -> Iterator[Curves]:
    """The curves of the run in `folder`, written out and closed at the end of the block; `config` is its recipe.

    TensorBoard's files, in `tensorboard/` there, are written anew from the run's own; a run of Weights & Biases is gone
    on with where it is. Its project, mode and account are those of its own variables (`WANDB_MODE=offline`).
    """
    check(names)
    with ExitStack() as stack:
        yield Curves([stack.enter_context(closing(SINKS[name](folder, config))) for name in dict.fromkeys(names)])


class _Board:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        shutil.rmtree(folder / BOARD, ignore_errors=True)
        self.writer = _imported("tensorboard").SummaryWriter(str(folder / BOARD))

    def send(self, values: Values, step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class _Wandb:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        place = folder / WANDB_RUN
        if not place.is_file():
            state.write_json(place, {"id": uuid.uuid4().hex[:12]})
        self.run = _imported("wandb").init(
            id=settings.from_file(place)["id"],
            resume="allow",
            name=folder.name,
            dir=str(folder),
            config=dict(config),
        )
        self.first = self.run.step

    def send(self, values: Values, step: int) -> None:
        if step >= self.first:
            self.run.log(values, step=step)

    def close(self) -> None:
        self.run.finish()


SINKS: dict[str, Callable[[Path, Mapping[str, Any]], Sink]] = {"tensorboard": _Board, "wandb": _Wandb}
MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(MODULES[name])
    except ImportError as error:
        raise UserError(f"--log {name} needs a package that is not installed ({error}): pip install {name}") from None


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's file; the last one is left out where it was cut short.

    Raises:
        UserError: naming a line that no run writes.
    """
    entries: list[dict[str, Any]] = []
    text = path.read_text(errors="replace") if path.is_file() else ""
    written = text.splitlines()
    for number, line in enumerate(written, 1):
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, RecursionError) as error:
            if number == len(written) and not text.endswith("\n"):
                break
            raise UserError(
                f"{path}, line {number}: '{line[:40]}' is no line of a run ({error}). Expected a mapping in JSON with "
                "its step. The file was changed, or is another; restore it, or name another run folder."
            ) from None
    return entries


def _entry(value: Any) -> dict[str, Any]:
    """One line, if it is what runs write: numbers by name, with its step, and lists and words beside them."""
    if not isinstance(value, dict):
        raise ValueError("it is no mapping")
    for name in ("step", *sorted(NUMBERS & value.keys()), *(("waited",) if "seconds" in value else ())):
        if not isinstance(value.get(name), int | float):
            raise ValueError(f"its {name} is no number")
    return value
