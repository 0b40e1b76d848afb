"""The networks under test: one family a file, each able to build itself and to recognize itself by shapes."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from transferbench import plugins
from transferbench.errors import UserError
from transferbench.registries import FAMILIES as FAMILIES
from transferbench.runtime import memory, seeded
from transferbench.settings import Settings, read

LIVE = "module"
"""The family of a network handed over as a live module, which nothing here can build."""

OWN_CODE = "python"
"""The family of networks that a person's own function builds."""

COUNTER = "num_batches_tracked"
"""How the names of a batch norm's step counter end."""

MOST_BESIDE = 1 << 28
"""Values that a network may compute beside its weights when it is built (attention masks), which no file holds."""

MOST_SHOWN = 1000
"""Characters of a network's arguments in a message."""

Shapes = Mapping[str, tuple[int, ...]]


class Architecture(Settings):
    """All that is needed to build a network: its family and that family's arguments, every one written out."""

    family: str = Field(description="a name of `evaluate ls backbones`, or an import path")
    arguments: dict[str, Any] = Field(description="the family's own settings")

    @property
    def name(self) -> str:
        """A short name for tables, such as `resnet18` or `resnet50-w2-cifar`; of a live module, its class.

        A family outside this package is not imported for it: records are read where its code is not, and where its
        arguments are of another version.
        """
        if self.family == LIVE:
            return str(self.arguments.get("class", LIVE))
        if not plugins.is_outside(self.family) and FAMILIES.has(self.family):
            with contextlib.suppress(ValueError, LookupError, TypeError, ArithmeticError):
                return FAMILIES.registered(self.family).describe(self.arguments)
        return " ".join([self.family, *(f"{name}={value}" for name, value in sorted(self.arguments.items()))])


class Backbone(nn.Module):
    """A network from images to one vector an image."""

    architecture: Architecture
    width: int
    """The number of features."""
    may_be_empty: frozenset[str] = frozenset()
    """Names of tensors that hold nothing in some of its sizes: registers, where there are none."""

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, `b d`, of images, `b 3 h w`."""
        raise NotImplementedError

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps by stage name, each `b c h w`."""
        raise NotImplementedError


@runtime_checkable
class TokenBackbone(Protocol):
    """A backbone whose layers give tokens, which a setting `layer=last:N` takes; others give their `stages`.

    How many of the first tokens are no patches, it says as `num_prefix_tokens` (none where it does not), and that there
    are such and none of them is a class token, as `has_class_token = False`.
    """

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Tokens of the last `layers` blocks or stages in order, each `b n d`; of all where there are fewer.

        `normed`: through the network's last norm, each one that the norm is made for. A norm that is applied to the
        pooled vector has no part in it.

        Raises:
            UserError: without `normed`, where there is no such norm.
        """
        ...


@runtime_checkable
class OutputBackbone(Protocol):
    """A backbone with several outputs beside the one that `forward` gives."""

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Further outputs by name, each `b d`.

        `pooler`: what the network's own pooling head makes; `embedding`: the features in front of a projection;
        `projector`: behind it, as CLIP's embedding that images share with texts.
        """
        ...


@runtime_checkable
class Family(Protocol):
    """What a file in this folder offers."""

    Arguments: type[Settings]

    def build(self, arguments: Any) -> Backbone:
        """The network, with torch's initial weights."""
        ...

    def propose(self, shapes: Shapes) -> list[dict[str, Any]]:
        """Arguments of networks that tensors of these canonical names and shapes could belong to, likeliest first."""
        ...

    def describe(self, arguments: Mapping[str, Any]) -> str:
        """A short name for tables."""
        ...

    def assumptions(self, arguments: Mapping[str, Any]) -> list[str]:
        """What `propose` had to take for granted because tensors do not tell."""
        ...


@dataclass(frozen=True)
class Tensors:
    """What a network holds, known without building it: its weights' shapes by name, and its number of features.

    `beside` is how many values it computes beside its weights.
    """

    shapes: Shapes
    width: int
    beside: int = 0


@runtime_checkable
class Calculable(Protocol):
    """A family whose networks' tensors follow from their arguments, without the library that builds them."""

    def tensors(self, arguments: Any) -> Tensors:
        """What `build` would hold. Raises ValueError for arguments that it refuses."""
        ...


def complete(architecture: Architecture) -> Architecture:
    """The same architecture with the defaults of its family filled in.

    Raises:
        UserError: for a family or argument that does not exist.
    """
    family: Family = FAMILIES.registered(architecture.family)
    arguments = read(family.Arguments, architecture.arguments)
    return Architecture(family=architecture.family, arguments=arguments.model_dump(mode="json"))


def build(architecture: Architecture, seed: int = 0, device: str = "cpu") -> Backbone:
    """The network with initial weights drawn from `seed` (`device="meta"`: shapes only).

    Raises:
        UserError: for arguments that no network has: those that do not go together, that leave a layer without
            channels, or whose weights this machine's memory does not hold.
    """
    full = complete(architecture)
    if device != "meta":
        _require_room(full)
    family: Family = FAMILIES.registered(full.family)
    with seeded(seed), torch.device(device), _refusing(full):
        backbone = family.build(family.Arguments.model_validate(full.arguments))
    tensors = backbone.state_dict().items()
    empty = [name for name, tensor in tensors if not tensor.numel() and name not in backbone.may_be_empty]
    if empty:
        raise UserError(
            f"There is no {full.family} of these arguments: {len(empty)} of its tensors would have no elements, the "
            f"first of them {empty[0]}. Expected at least one channel in every layer: {_shown(full)}"
        )
    backbone.architecture = full
    return backbone


def _shown(architecture: Architecture) -> str:
    """Its arguments, of which a file may state any number."""
    text = str(architecture.arguments)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text):,} characters)"


@contextlib.contextmanager
def _refusing(full: Architecture) -> Iterator[None]:
    try:
        yield
    except (AssertionError, ArithmeticError, LookupError, ValueError, RuntimeError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"There is no {full.family} of these arguments ({reason}): {_shown(full)}") from None


def _require_room(full: Architecture) -> None:
    values, room = sum(map(math.prod, expected_shapes(full).values())), memory.installed()
    if 4 * values > room:
        raise UserError(
            f"{full.name} has {values:,} values, {4 * values / 2**30:,.0f} GiB in float32, and this machine has "
            f"{room / 2**30:,.0f} GiB of memory. Expected a smaller network: {_shown(full)}"
        )


@cache
def _tensors_of(key: str) -> Tensors:
    full = Architecture.model_validate_json(key)
    family = FAMILIES.registered(full.family)
    if isinstance(family, Calculable):
        with _refusing(full):
            found = family.tensors(cast(Family, family).Arguments.model_validate(full.arguments))
    else:
        found = _built(full)
    if found.beside > MOST_BESIDE:
        raise UserError(f"{full.name} would take {found.beside:,} values beside its weights: not built.")
    return found


def _built(full: Architecture) -> Tensors:
    """The tensors of a network that is built on the meta device."""
    backbone = build(full, device="meta")
    state = backbone.state_dict()
    beside = sum(buffer.numel() for name, buffer in backbone.named_buffers() if name not in state)
    return Tensors(shapes(state), backbone.width, beside)


@cache
def _whole_numbers_of(key: str) -> frozenset[str]:
    tensors = build(Architecture.model_validate_json(key), device="meta").state_dict()
    return frozenset(name for name, tensor in tensors.items() if not tensor.is_floating_point())


def whole_numbers(architecture: Architecture) -> frozenset[str]:
    """Names of the network's tensors that hold whole numbers, such as which of its outputs are read."""
    return _whole_numbers_of(complete(architecture).model_dump_json())


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's tensors: calculated, or from the meta device."""
    return dict(_tensors_of(complete(architecture).model_dump_json()).shapes)


def width(architecture: Architecture) -> int:
    """The number of the network's features."""
    return _tensors_of(complete(architecture).model_dump_json()).width


def side(architecture: Architecture) -> int:
    """The side of the images that the network is made for, pixels; 224 where its family does not say."""
    if "image_size" in architecture.arguments:
        return int(architecture.arguments["image_size"])
    family = FAMILIES.registered(architecture.family)
    return int(family.side(architecture.arguments)) if hasattr(family, "side") else 224


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def candidates(tensors: Shapes) -> list[Architecture]:
    """Every architecture that some family proposes for tensors of these names and shapes."""
    return [
        complete(Architecture(family=name, arguments=arguments))
        for name, family in FAMILIES.all()
        for arguments in family.propose(tensors)
        if _is_possible(family.Arguments, arguments)
    ]


def _is_possible(model: type[Settings], arguments: Mapping[str, Any]) -> bool:
    """Whether the family takes such arguments: shapes may lead to any."""
    try:
        model.model_validate(dict(arguments))
    except ValueError:
        return False
    return True


def assumptions(architecture: Architecture) -> list[str]:
    """What the tensors of such a network do not say and is taken for granted."""
    family: Family = FAMILIES.registered(architecture.family)
    return family.assumptions(architecture.arguments)


def misfits(architecture: Architecture, tensors: Shapes, note: Callable[[str], str] = lambda name: "") -> list[str]:
    """What keeps tensors of these names and shapes from filling the network; empty when they fit exactly.

    Missing step counters (`num_batches_tracked`) are no misfits where `_are_frozen` says so: no forward pass reads them
    and several formats leave them out. `note` adds to each line what there is to say of a name.
    """
    expected = expected_shapes(architecture)
    missing = [n for n in expected if n not in tensors]
    counters = [n for n in missing if n.endswith(COUNTER)]
    if _are_frozen(counters, [n for n in expected if n.endswith(COUNTER)]):
        missing = [n for n in missing if not n.endswith(COUNTER)]
    surplus = [n for n in tensors if n not in expected]
    differing = [n for n in expected if n in tensors and tensors[n] != expected[n]]
    return (
        [f"missing {name} {list(expected[name])}{note(name)}" for name in missing]
        + [f"unexpected {name} {list(tensors[name])}{note(name)}" for name in surplus]
        + [f"{name} is {list(tensors[name])}, expected {list(expected[name])}{note(name)}" for name in differing]
    )


def _first(problems: list[str]) -> list[str]:
    """Some misfits of each kind."""
    starts = [("missing ",), ("unexpected ",)]
    kinds = [[line for line in problems if line.startswith(start)] for start in starts]
    kinds.append([line for line in problems if not line.startswith(("missing ", "unexpected "))])
    shown = [line for kind in kinds for line in kind[:4]]
    rest = len(problems) - len(shown)
    return shown + ([f"and {rest} more"] if rest else [])


def _are_frozen(absent: list[str], counters: list[str]) -> bool:
    """Whether the absent counters are all there are, or those of the stem and the first stages: frozen norms lose them.

    A single one that is absent was lost.
    """
    parts = list(dict.fromkeys(name.split(".")[0] for name in counters))
    leading = [[n for n in counters if n.split(".")[0] in parts[:count]] for count in range(2, len(parts))]
    return absent in [counters, *leading]


def ranked(tensors: Shapes, note: Callable[[str], str] = lambda name: "") -> list[tuple[Architecture, list[str]]]:
    """Every candidate with its misfits, the fewest first; of several that fit, the plainest."""
    pairs = [(each, misfits(each, tensors, note)) for each in candidates(tensors)]
    return sorted(pairs, key=lambda pair: len(pair[1]))


def identify(tensors: Shapes, note: Callable[[str], str] = lambda name: "") -> Architecture:
    """The architecture these canonical names and shapes fill exactly.

    Raises:
        UserError: when none does, with the nearest architecture and its first misfits.
    """
    nearest = next(iter(ranked(tensors, note)), None)
    if nearest is None:
        raise UserError(
            f"The {len(tensors)} tensors (first: {', '.join(list(tensors)[:3])}) are of no known architecture. "
            f"Known families: {', '.join(FAMILIES.names())}."
        )
    architecture, problems = nearest
    if problems:
        listed = "\n".join(f"  {line}" for line in _first(problems))
        raise UserError(
            f"The weights do not fit any known architecture exactly. Nearest: {architecture.name}, with "
            f"{len(problems)} mismatch(es):\n{listed}"
        )
    return architecture
