"""Which networks a file holds: every complete backbone under every prefix and naming scheme, and whose layout it is."""

import re
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from transferbench import backbones
from transferbench.checkpoints import drops
from transferbench.checkpoints.formats import FORMATS, Encoder, Layout
from transferbench.checkpoints.naming import SCHEMES, Naming, Weights
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.states import StateDict

UNKNOWN = "unknown"
SMALLEST = 10
"""No known network has fewer tensors."""
COPY = re.compile(r"(?:.*_)?(?:momentum|ema|teacher|target|student|t|k)(?:_.*)?|(?:.*_)?k")
"""Words that mark the moving average, or the other one of a pair."""


@dataclass(frozen=True)
class Network:
    """One network of a file: what it is called, the state dict it lies in, its names' prefix there and their scheme."""

    label: str
    state: StateDict
    prefix: str
    naming: Naming
    misfits: int
    nested: tuple[str, ...] = ()
    """Prefixes, below its own, of whole networks that are others."""

    @property
    def address(self) -> str:
        """Its place in the file, as `state_dict: module.encoder_q.`."""
        path = ".".join(self.state.path) or "top level"
        return f"{path}: {self.state.wrapper}{self.prefix}".strip(": ")

    def holds(self, name: str) -> bool:
        """Whether a name of the state dict is below this network's prefix and no other's."""
        return name.startswith(self.prefix) and not (self.nested and name.startswith(self.nested))

    def reason(self, local: str) -> str | None:
        """Why a tensor below the prefix is no part of the network; None if it may be."""
        if any(re.fullmatch(pattern, local) for pattern in self.naming.unused):
            return "never used by the source's own forward pass"
        return None if self.naming.knows(local) else drops.inside(local)

    def weights(self) -> Weights:
        """The tensors that may be the network's, in the source's names below the prefix."""
        local = {n.removeprefix(self.prefix): tensor for n, tensor in self.state.tensors.items() if self.holds(n)}
        return {name: tensor for name, tensor in local.items() if self.reason(name) is None}

    @cached_property
    def storage(self) -> frozenset[int]:
        """Where its values lie: two names of one network lie in the same place."""
        return frozenset(tensor.data_ptr() for tensor in self.weights().values())


@dataclass(frozen=True)
class Reading:
    """One way to read a file: as which format, and the networks that gives, the source's own choice first."""

    format: str
    layout: Layout
    networks: tuple[Network, ...]


def found(states: list[StateDict]) -> list[Network]:
    """Every network of every state dict, whole or not, each in the naming scheme that fits it best."""
    return [network for state in states for network in _in(state)]


def _in(state: StateDict) -> list[Network]:
    schemes = [naming for _, module in SCHEMES.all() for naming in module.NAMINGS]
    names = list(state.tensors)
    by_prefix: dict[str, list[Naming]] = {}
    for naming in schemes:
        for prefix in naming.prefixes(names):
            by_prefix.setdefault(prefix, []).append(naming)
    best: dict[str, Network] = {}
    for prefix in sorted(by_prefix, key=len, reverse=True):
        label = prefix.rstrip(".") or state.key or "backbone"
        nested = tuple(p for p, network in best.items() if network.misfits == 0 and p.startswith(prefix))
        options = [Network(label, state, prefix, naming, 0, nested) for naming in by_prefix[prefix]]
        counted = [replace(each, misfits=count) for each in options if (count := _misfits(each)) is not None]
        if counted:
            best[prefix] = min(counted, key=lambda network: network.misfits)
    return [best[prefix] for prefix in by_prefix if prefix in best]


def _misfits(network: Network) -> int | None:
    """How many tensors keep the network from being whole; None when it resembles nothing."""
    weights = network.weights()
    if len(weights) < SMALLEST:
        return None
    shapes = {name: torch.empty(tensor.shape, device="meta") for name, tensor in weights.items()}
    ranked = backbones.ranked(backbones.shapes(network.naming.rename(shapes)))
    return len(ranked[0][1]) if ranked else None


def known(contents: Contents, states: list[StateDict], networks: list[Network]) -> list[Reading]:
    """The readings by the layouts with most evidence; none when no layout knows the file."""
    readings = [
        Reading(name, layout, chosen)
        for name, module in FORMATS.all()
        for layout in module.LAYOUTS
        if (chosen := _laid_out(contents, layout, networks))
        or (layout.refusal and any(layout.fits(contents, state) for state in states))
    ]
    most = max((reading.layout.weight for reading in readings), default=None)
    return [reading for reading in readings if reading.layout.weight == most]


def _laid_out(contents: Contents, layout: Layout, networks: list[Network]) -> tuple[Network, ...]:
    """The networks a layout names, under its labels, in its order of preference."""
    fitting = [network for network in networks if layout.fits(contents, network.state)]
    chosen: dict[str, Network] = {}
    for encoder in layout.encoders:
        places = [network for network in fitting if encoder.is_at(network.state, network.prefix)]
        place = min(places, key=lambda network: (_order(encoder, network), len(network.prefix)), default=None)
        if place is not None:
            chosen.setdefault(encoder.label, replace(place, label=encoder.label))
    return tuple(chosen.values())


def _order(encoder: Encoder, network: Network) -> int:
    return encoder.at.index(network.state.key) if encoder.at else 0


def unlisted(networks: list[Network]) -> Reading:
    """The file as one of unknown source: whole networks, copies of others last; the nearest one if none is whole."""
    whole = [network for network in networks if network.misfits == 0]
    if not whole:
        return Reading(UNKNOWN, Layout(), (min(networks, key=lambda network: network.misfits),))
    return Reading(UNKNOWN, Layout(), tuple(sorted(whole, key=_rank)))


def _rank(network: Network) -> tuple[bool, bool]:
    """Whether known sources keep a copy, which they do not evaluate, in such a place; whether a name says so."""
    layouts = [layout for _, module in FORMATS.all() for layout in module.LAYOUTS]
    firsts = {(e.prefix, at) for layout in layouts for e in layout.encoders[:1] for at in e.at or (None,)}
    others = {(e.prefix, at) for layout in layouts for e in layout.encoders[1:] for at in e.at or (None,)} - firsts
    is_second = bool({(network.prefix, network.state.key), (network.prefix, None)} & others)
    return is_second, any(COPY.fullmatch(word) for word in [*network.state.path, *network.prefix.split(".")])


def rivals(reading: Reading) -> list[Network]:
    """Of an unknown source, the different networks of which none is less likely than another to be the one meant."""
    best = _rank(reading.networks[0])
    return [network for network in distinct(reading.networks) if _rank(network) == best]


def distinct(networks: tuple[Network, ...]) -> list[Network]:
    """The networks without those that are another name for an earlier one."""
    first: dict[frozenset[int], Network] = {}
    for network in networks:
        first.setdefault(network.storage, network)
    return list(first.values())
