"""Which networks a file holds: by the layout its source is known by, or by trying every prefix."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from transferbench import backbones
from transferbench.checkpoints.formats import FORMATS, HEADS, OTHERS, Encoder, Layout, Weights, reason
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.states import StateDict
from transferbench.errors import UserError

UNKNOWN = "unknown"
SMALLEST = 10
"""No known network has fewer tensors."""


@dataclass(frozen=True)
class Network:
    """One network of a file: what it is called, the state dict it lies in and its names' prefix there."""

    label: str
    state: StateDict
    prefix: str
    is_copy: bool = False
    """Some known source keeps a copy under this prefix beside the network it evaluates."""

    @property
    def address(self) -> str:
        """Its place in the file, as `state_dict: module.encoder_q.`."""
        path = ".".join(self.state.path) or "top level"
        return f"{path}: {self.state.wrapper}{self.prefix}".strip(": ")

    def weights(self) -> Weights:
        """The tensors below the prefix, without it."""
        tensors = self.state.tensors.items()
        return {name.removeprefix(self.prefix): value for name, value in tensors if name.startswith(self.prefix)}

    def storage(self) -> tuple[int, ...]:
        """Where its values lie: two names of one network lie in the same place."""
        return tuple(sorted(tensor.data_ptr() for tensor in self.weights().values()))


@dataclass(frozen=True)
class Reading:
    """One way to read a file: as which format, and the networks that gives, the source's own choice first."""

    format: str
    layout: Layout
    networks: tuple[Network, ...]


def known(contents: Contents, states: list[StateDict]) -> list[Reading]:
    """The readings by the layouts with most evidence; none when no layout knows the file."""
    readings = [
        Reading(name, layout, networks)
        for name, module in FORMATS.all()
        for layout in module.LAYOUTS
        if _is_beside(contents, layout) and (networks := _networks(layout, states))
    ]
    most = max((reading.layout.weight for reading in readings), default=None)
    return [reading for reading in readings if reading.layout.weight == most]


def _is_beside(contents: Contents, layout: Layout) -> bool:
    top = contents.tree if isinstance(contents.tree, dict) else {}
    return all(key in top for key in layout.beside) and (layout.header is None or layout.header in contents.header)


def _networks(layout: Layout, states: list[StateDict]) -> tuple[Network, ...]:
    found: dict[str, Network] = {}
    for encoder in layout.encoders:
        places = [state for key in encoder.at for state in states if state.key == key]
        place = next((state for state in places if _is_evident(layout, encoder, state)), None)
        if place is not None:
            found.setdefault(encoder.label, Network(encoder.label, place, encoder.prefix))
    return tuple(found.values())


def _is_evident(layout: Layout, encoder: Encoder, state: StateDict) -> bool:
    has_prefix = any(name.startswith(encoder.prefix) for name in state.tensors)
    return has_prefix and all(any(re.fullmatch(p, name) for name in state.tensors) for p in layout.evidence)


def unlisted(states: list[StateDict]) -> Reading:
    """The file as one of unknown source: every prefix is tried.

    Whole networks count, those that some known source keeps as a copy beside its own last. Where none is whole the
    nearest is returned, for its misfits to be told.

    Raises:
        UserError: when nothing in the file resembles a network.
    """
    layouts = [layout for _, module in FORMATS.all() for layout in module.LAYOUTS]
    heads = HEADS + tuple(drop for layout in layouts for drop in layout.heads)
    others = OTHERS + tuple(drop for layout in layouts for drop in layout.others)
    nearest: tuple[int, Reading] | None = None
    for rename in dict.fromkeys(layout.rename for layout in layouts):
        layout = Layout((), heads=heads, others=others, rename=rename)
        found = list(_resembling(layout, states))
        whole = [network for misfits, network in found if misfits == 0]
        if whole:
            return Reading(UNKNOWN, layout, _ranked(whole, layouts))
        for misfits, network in found:
            if nearest is None or misfits < nearest[0]:
                nearest = misfits, Reading(UNKNOWN, layout, (network,))
    if nearest is None:
        names = [f"{'.'.join((*state.path, name))}" for state in states for name in state.tensors]
        raise UserError(f"No network of a known architecture among {len(names)} tensors: {', '.join(names[:6])} ...")
    return nearest[1]


def _resembling(layout: Layout, states: list[StateDict]) -> Iterator[tuple[int, Network]]:
    """Every prefix below which something like a network lies, with the number of its misfits."""
    for state in states:
        starts = (name[: dot.end()] for name in state.tensors for dot in re.finditer(r"\.", name))
        for prefix in dict.fromkeys(["", *starts]):
            network = Network(prefix.rstrip(".") or state.key or "backbone", state, prefix)
            inside = network.weights()
            if len(inside) < SMALLEST or not backbones.candidates(backbones.shapes(layout.rename(inside))):
                continue
            kept = {name: tensor for name, tensor in inside.items() if reason(layout.heads, name) is None}
            shapes = backbones.shapes(layout.rename(kept))
            yield min(len(backbones.misfits(a, shapes)) for a in backbones.candidates(shapes)), network


def _ranked(networks: list[Network], layouts: list[Layout]) -> tuple[Network, ...]:
    copies = {encoder.prefix for layout in layouts for encoder in layout.encoders[1:]}
    copies -= {layout.encoders[0].prefix for layout in layouts}
    marked = [replace(network, is_copy=network.prefix in copies) for network in networks]
    return tuple(sorted(marked, key=lambda network: network.is_copy))


def distinct(networks: tuple[Network, ...]) -> list[Network]:
    """The networks without those that are another name for an earlier one."""
    first: dict[tuple[int, ...], Network] = {}
    for network in networks:
        first.setdefault(network.storage(), network)
    return list(first.values())
