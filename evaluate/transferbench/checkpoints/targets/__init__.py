"""What checkpoints are converted to: one target a file, each offering `TARGET`, a `Target` value."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from transferbench import backbones, state
from transferbench.backbones import Architecture, Shapes
from transferbench.checkpoints import Card
from transferbench.checkpoints.naming import Weights
from transferbench.registries import TARGETS as TARGETS

Arguments = Mapping[str, Any]


def _nothing(arguments: Arguments) -> list[str]:
    return []


def _no_lines(arguments: Arguments, file: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Kind:
    """One family's networks at a target."""

    shapes: Callable[[Arguments], Shapes]
    """Names and shapes of the target's own network."""
    built: Callable[[Arguments], str]
    """What builds it there, for the person to use."""
    free: frozenset[str]
    """Arguments the target takes any value of; of the others only the family's defaults."""
    naming: str = ""
    """The naming scheme, read backwards; canonical names without one."""
    cannot: Callable[[Arguments], list[str]] = _nothing
    """What else the target cannot compute."""
    lines: Callable[[Arguments, str], Sequence[str]] = _no_lines
    """The Python that builds a network of which the target's own code builds only a part, and loads it from a file."""
    scaled: "Kind | None" = None
    """Networks with layer scales, where the target has a class of its own for them."""


def plain(path: Path, weights: Weights, card: Card) -> None:
    """The weights alone, as the ending says: safetensors or a flat state dict."""
    if path.suffix == ".safetensors":
        state.save_tensors(path, weights, ("format", "pt"))
    else:
        torch.save(weights, path)


@dataclass(frozen=True)
class Target:
    """A library that reads weights in its own names."""

    kinds: Mapping[str, Kind]
    """By backbone family."""
    endings: tuple[str, ...] = (".safetensors", ".pth")
    """Of files it reads; none for a folder."""
    write: Callable[[Path, Weights, Card], None] = field(default=plain)
    inside: str = ""
    """The file with the weights, in a folder."""
    keeps_card: bool = False
    """Whether it writes all of the card, where weights come from too; only then is the source hashed."""

    def kind(self, architecture: Architecture) -> Kind | None:
        """The kind that a network belongs to; None for a family the target does not have."""
        kind = self.kinds.get(architecture.family)
        return kind.scaled if kind and kind.scaled and architecture.arguments.get("layer_scale") else kind

    def misfits(self, architecture: Architecture) -> list[str]:
        """Every property of the network that the target cannot compute; empty when it can."""
        kind = self.kind(architecture)
        if kind is None:
            return [f"family {architecture.family} (only {', '.join(self.kinds)})"]
        arguments = canonical(architecture)
        bound = {name: value for name, value in arguments.items() if name not in kind.free}
        usual = backbones.complete(Architecture(family=architecture.family, arguments={})).arguments if bound else {}
        odd = [f"{name}={value} (only {usual[name]})" for name, value in bound.items() if value != usual[name]]
        return [*odd, *kind.cannot(arguments)]


def canonical(architecture: Architecture) -> dict[str, Any]:
    """The arguments, with zeros padded in front of a stem's one convolution counted as its own: the same, exactly."""
    arguments = dict(architecture.arguments)
    half = {"imagenet": 3, "cifar": 1, "small_maxpool": 1}.get(arguments.get("stem", ""))
    if half is not None and not arguments["same_padding"]:
        padding = arguments["pre_pad"] + (half if arguments["conv1_padding"] is None else arguments["conv1_padding"])
        arguments |= {"pre_pad": 0, "conv1_padding": None if padding == half else padding}
    return arguments


def called(function: str, arguments: Arguments) -> str:
    """`function(name=value, ...)`."""
    return f"{function}({', '.join(f'{name}={value}' for name, value in arguments.items())})"
