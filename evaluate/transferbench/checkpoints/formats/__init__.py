"""Foreign checkpoint layouts: one source a file, each offering `LAYOUTS`, a tuple of `Layout` values."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from transferbench import backbones, renamed
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.states import StateDict
from transferbench.data.transforms import Preprocess
from transferbench.registries import FORMATS as FORMATS

ROOT = ""


@dataclass(frozen=True)
class EncoderSpec:
    """One network of a file: what `--encoder` calls it, its names' prefix, and the keys its state dict may lie under.

    The prefix is meant without the wrappers (`module.` and the like) that all names of the state dict carry. A network
    below the prefix counts too: `backbone.` stands for `backbone.vit.` as well; an empty one only for itself. `at`
    lists keys in order of preference, `ROOT` is the file itself; empty is anywhere.
    """

    label: str = "backbone"
    prefix: str = ""
    at: tuple[str, ...] = ()

    def is_at(self, state: StateDict, prefix: str) -> bool:
        """Whether a network of this prefix in this state dict is the one meant."""
        is_there = prefix.startswith(self.prefix) if self.prefix else not prefix
        return is_there and (not self.at or state.key in self.at)


@dataclass(frozen=True)
class File:
    """What a layout may look at besides the network: the file, and the state dict the network lies in."""

    contents: Contents
    state: StateDict

    @cached_property
    def top(self) -> Mapping[str, Any]:
        """The file's top level, where that is a mapping."""
        return self.contents.tree if isinstance(self.contents.tree, dict) else {}

    def word(self, key: str) -> str:
        """The text under a key at the top; empty where there is none, or something else."""
        value = self.top.get(key)
        return value if isinstance(value, str) else ""

    def has(self, pattern: str) -> bool:
        """Whether some tensor's whole name, without wrappers, fits the pattern."""
        return self.state.has(pattern)

    def rows(self, name: str) -> int:
        """The first size of a tensor; 0 when there is none."""
        tensor = self.state.tensors.get(name)
        return tensor.shape[0] if tensor is not None and tensor.ndim else 0

    def beside(self, name: str) -> Mapping[str, Any]:
        """A JSON file that lies in the same folder (`config.json`); empty when there is none."""
        path = self.contents.path.with_name(name)
        try:
            content = json.loads(path.read_text()) if path.is_file() else {}
        except (ValueError, RecursionError, OSError):
            return {}
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class Settled:
    """What a source's network computes beyond what names and shapes say: arguments, and the words for the report."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def imagenet(architecture: Architecture, file: File | None = None) -> Preprocess:
    """ImageNet statistics at the network's own size: 224 (or the position embedding's), 32 behind a 3x3 stem."""
    if architecture.arguments.get("stem", "imagenet") in {"cifar", "small_maxpool"}:
        return Preprocess(size=32, crop=32)
    crop = backbones.side(architecture)
    return Preprocess(size=round(crop * 256 / 224), crop=crop)


def small(mean: tuple[float, float, float], std: tuple[float, float, float], size: int = 32) -> Preprocess:
    """Whole small images with statistics of their own."""
    return Preprocess(mean=mean, std=std, size=size, crop=size)


CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
"""Of CIFAR-10; which deviation goes with it is the source's choice (docs/checkpoints.md#normalization)."""


def _nothing(architecture: Architecture, file: File) -> Settled:
    return Settled()


def _any(architecture: Architecture, file: File) -> bool:
    return True


def _always(file: File) -> bool:
    return True


@dataclass(frozen=True)
class Layout:
    """How one source lays out its files.

    A file is of this layout when every `evidence` pattern fully matches some name of the encoder's state dict, every
    key of `beside` stands at the top of the file, `header` (if any) is a key of its header, and `when` holds. Of
    several, the layout with most evidence decides alone.
    """

    encoders: tuple[EncoderSpec, ...] = (EncoderSpec(),)
    """In order of preference: the first one in the file is what the source itself evaluates."""
    evidence: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    header: str | None = None
    when: Callable[[File], bool] = _always
    names_only: bool = False
    """Whether only the network's own names tell the source: then it does not say which of several is meant."""
    refusal: str = ""
    """Why such a file cannot be loaded; it then needs no encoder."""
    has: Callable[[Architecture, File], bool] = _any
    """Which of several architectures with the same names and shapes the source's networks are."""
    settle: Callable[[Architecture, File], Settled] = _nothing
    preprocess: Callable[[Architecture, File], Preprocess] = imagenet
    card: Callable[[Mapping[str, str]], Card] | None = None
    """Reads a card from the header; it then decides architecture and preprocessing."""
    method: str | None = None

    @property
    def weight(self) -> tuple[bool, bool, int]:
        """How much evidence it takes; the heaviest layout that a file meets is the file's."""
        evidence = len(self.evidence) + len(self.beside) + (self.when is not _always)
        return self.header is not None, bool(self.refusal), evidence

    def fits(self, contents: Contents, state: StateDict) -> bool:
        """Whether the file, with this state dict, is of this layout."""
        file = File(contents, state)
        is_beside = all(key in file.top for key in self.beside)
        is_headed = self.header is None or self.header in contents.header
        return is_beside and is_headed and all(map(file.has, self.evidence)) and self.when(file)


__getattr__ = renamed.names_of(__name__)
