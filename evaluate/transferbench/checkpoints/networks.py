"""Which networks a file holds: every complete backbone under every prefix and naming scheme, and whose layout it is."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch

from transferbench import backbones
from transferbench.backbones import Architecture, Shapes
from transferbench.checkpoints import unused_tensors
from transferbench.checkpoints.formats import FORMATS, EncoderSpec, Layout
from transferbench.checkpoints.naming import Naming, Weights, schemes
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.states import APART, StateDict
from transferbench.errors import UserError

UNKNOWN = "unknown"
SMALLEST = 10
"""No known network has fewer tensors."""
MOST_NETWORKS = 64
"""In one state dict: each that resembles a known one is compared with several of those."""
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
    members: frozenset[str] | None = None
    """The names below the prefix that are its own, where a library says so; None where their words do."""
    architectures: tuple[tuple[Architecture, ...], ...] = ()
    """Libraries' architectures of these names and shapes, in groups that compute alike."""

    @property
    def address(self) -> str:
        """Its place in the file, as `state_dict: module.encoder_q.`."""
        path = ".".join(self.state.path) or "top level"
        return f"{path}: {self.written('')}".strip(": ")

    def written(self, local: str) -> str:
        """A name below the prefix as the file has it, or would have it."""
        known = self.state.written.get(self.prefix + local)
        wrapper = "" if self.prefix.startswith(APART) else self.state.wrapper
        return known or wrapper + self.prefix.removeprefix(APART) + local

    def spelled(self, canonical: str) -> list[str]:
        """A canonical name as it stands, or would stand, in the file."""
        return [self.written(self._numbered(local)) for local in self.naming.spell(canonical)]

    def _numbered(self, local: str) -> str:
        """A name with its `*` replaced by the number that others of the same block have there."""
        before, star, after = local.partition("*")
        if not star:
            return local
        block = re.compile(rf"{re.escape(self.prefix + before)}(\d+){re.escape(after[: after.find('.', 1) + 1])}")
        number = next((match[1] for name in self.state.tensors if (match := block.match(name))), star)
        return before + number + after

    def holds(self, name: str) -> bool:
        """Whether a name of the state dict is below this network's prefix and no other's."""
        return name.startswith(self.prefix) and not (self.nested and name.startswith(self.nested))

    def reason(self, local: str) -> str | None:
        """Why a tensor below the prefix is no part of the network; None if it may be."""
        return None if self.members and local in self.members else unused_tensors.within(self.naming, local)

    def weights(self) -> Weights:
        """The tensors that may be the network's, in the source's names below the prefix."""
        begin, tensors = len(self.prefix), self.state.tensors
        local = {name[begin:]: tensors[name] for name in self.state.below(self.prefix) if self.holds(name)}
        if self.members is not None:
            return {name: tensor for name, tensor in local.items() if name in self.members}
        return {name: tensor for name, tensor in local.items() if unused_tensors.within(self.naming, name) is None}

    def shapes(self) -> Shapes:
        """Shapes of the weights by their canonical names; no value is touched."""
        empty = {name: torch.empty(tensor.shape, device="meta") for name, tensor in self.weights().items()}
        return backbones.shapes(self.naming.rename(empty))

    @cached_property
    def storage(self) -> frozenset[int]:
        """Where its values lie: two names of one network lie in the same place."""
        return frozenset(tensor.data_ptr() for tensor in self.weights().values())


@dataclass(frozen=True)
class Interpretation:
    """One way to read a file: as which format, and the networks that gives, the source's own choice first."""

    format: str
    layout: Layout
    networks: tuple[Network, ...]
    rivals: int = 1
    """How many different networks are as likely to be the one meant as the first."""


def found(states: list[StateDict]) -> list[Network]:
    """Every network of every state dict, whole or not, each in the naming scheme that fits it best."""
    return [network for state in states for network in _in(state)]


def _in(state: StateDict) -> list[Network]:
    names = list(state.tensors)
    by_prefix: dict[str, list[Naming]] = {}
    for naming in _own_schemes():
        for prefix in naming.prefixes(names):
            by_prefix.setdefault(prefix, []).append(naming)
    best: dict[str, Network] = {}
    for prefix in sorted(by_prefix, key=len, reverse=True):
        label = prefix.strip(f".{APART}") or state.key or "backbone"
        nested = tuple(p for p, network in best.items() if network.misfits == 0 and p.startswith(prefix))
        if len(best) > MOST_NETWORKS:
            raise UserError(f"more than {MOST_NETWORKS} networks in one state dict. Save the one to be judged alone.")
        options = [Network(label, state, prefix, naming, 0, nested) for naming in by_prefix[prefix]]
        counted = [replace(each, misfits=count) for each in options if (count := _misfits(each)) is not None]
        if counted:
            best[prefix] = min(counted, key=lambda network: network.misfits)
    return [best[prefix] for prefix in by_prefix if prefix in best]


@cache
def _own_schemes() -> list[Naming]:
    return [naming for naming in schemes() if not naming.library]


@cache
def _layouts(asked: str | None = None) -> list[tuple[str, Layout]]:
    chosen = FORMATS.all() if asked is None else [(asked, FORMATS.load(asked))]
    return [(name, layout) for name, module in chosen for layout in module.LAYOUTS]


def headed(contents: Contents, states: list[StateDict]) -> list[Network]:
    """The network of a file whose header holds its card, in canonical names, each tensor its own.

    It is of a family that no scheme knows, though one may know a network within it, as in a whitened one.
    """
    has_card = any(layout.card and layout.header in contents.header for _, layout in _layouts())
    if not has_card or not states:
        return []
    return [Network("backbone", states[0], "", Naming("canonical names", (), own=tuple(states[0].tensors)), 0)]


def _misfits(network: Network) -> int | None:
    """How many tensors keep the network from being whole; None when it resembles nothing."""
    if len(network.weights()) < SMALLEST:
        return None
    ranked = backbones.ranked(network.shapes())
    return len(ranked[0][1]) if ranked else None


def known(
    contents: Contents, states: list[StateDict], networks: list[Network], asked: str | None = None
) -> list[Interpretation]:
    """The readings by the layouts with most evidence, or by those of the format `asked`; none when none knows the file.

    A layout that the file meets but for its first network has lost it: no layout with less evidence, and no second
    network, is taken in its place. The file is then one of unknown source.
    """
    readings: list[Interpretation] = []
    lost: list[Layout] = []
    for name, layout in _layouts(asked):
        if not any(layout.fits(contents, state) for state in states):
            continue
        chosen = _laid_out(contents, layout, networks)
        if chosen or layout.refusal:
            readings.append(Interpretation(name, layout, chosen, _rivals(layout, chosen, networks)))
        else:
            lost.append(layout)
    most = max((reading.layout.weight for reading in readings), default=(False, False, 0))
    if any(layout.weight > most for layout in lost):
        return []
    return [reading for reading in readings if reading.layout.weight == most]


def _rivals(layout: Layout, chosen: tuple[Network, ...], networks: list[Network]) -> int:
    """How many different networks may be the one meant: one, where more than names tells the source."""
    if not layout.names_only or not chosen:
        return 1
    return len(distinct((*chosen[:1], *(network for network in networks if network.misfits == 0))))


def lost_places(contents: Contents, states: list[StateDict]) -> set[str]:
    """The keys under which the file's likeliest source keeps the network it evaluates, where that says so."""
    fitting = [layout for _, layout in _layouts() if any(layout.fits(contents, state) for state in states)]
    best = max(fitting, key=lambda layout: layout.weight, default=Layout())
    return set(best.encoders[0].at)


def _laid_out(contents: Contents, layout: Layout, networks: list[Network]) -> tuple[Network, ...]:
    """The networks a layout names, under its labels, in its order of preference."""
    fitting = [network for network in networks if layout.fits(contents, network.state)]
    chosen: dict[str, Network] = {}
    for encoder in layout.encoders:
        places = [network for network in fitting if encoder.is_at(network.state, network.prefix)]
        place = min(places, key=lambda network: (_order(encoder, network), len(network.prefix)), default=None)
        if place is not None:
            chosen.setdefault(encoder.label, replace(place, label=encoder.label))
    return tuple(chosen.values()) if layout.encoders[0].label in chosen else ()


def _order(encoder: EncoderSpec, network: Network) -> int:
    return encoder.at.index(network.state.key) if encoder.at else 0


def unlisted(networks: list[Network], places: set[str]) -> Interpretation:
    """The file as one of unknown source: whole networks, copies of others last; the nearest one if none is whole.

    Those under the keys `places` come first.
    """
    whole = [network for network in networks if network.misfits == 0]
    if not whole:
        return Interpretation(UNKNOWN, Layout(), (min(networks, key=lambda network: network.misfits),))
    ordered = tuple(sorted(whole, key=lambda each: _rank(each, places)))
    return Interpretation(UNKNOWN, Layout(), ordered, len(distinct(ordered)))


def broken(networks: list[Network]) -> list[Network]:
    """Networks that are not whole though nothing says why they should not be, the nearest to being whole first."""
    whole = [network for network in networks if network.misfits == 0]
    lost = [
        network
        for network in networks
        if network.misfits
        and not any(w.state is network.state and network.prefix.startswith(w.prefix) for w in whole)
        and unused_tensors.outside(".".join((*network.state.path, network.prefix))) is None
    ]
    return sorted(lost, key=lambda network: network.misfits)


def _rank(network: Network, places: set[str]) -> tuple[bool, bool, bool]:
    """Whether it is not where its source should keep it, whether others keep copies there, whether a name says so."""
    layouts = [layout for _, layout in _layouts()]
    firsts = {(e.prefix, at) for layout in layouts for e in layout.encoders[:1] for at in e.at or (None,)}
    others = {(e.prefix, at) for layout in layouts for e in layout.encoders[1:] for at in e.at or (None,)} - firsts
    is_second = bool({(network.prefix, network.state.key), (network.prefix, None)} & others)
    return (
        network.state.key not in places,
        is_second,
        any(COPY.fullmatch(word) for word in [*network.state.path, *network.prefix.split(".")]),
    )


def labels(networks: Sequence[Network]) -> list[str]:
    """What to call each of several networks: its label, its key where others share that, or else its place."""
    shared = Counter(network.label for network in networks)
    keys = Counter(network.state.key for network in networks)
    return [
        each.label if shared[each.label] == 1 else each.state.key if keys[each.state.key] == 1 else each.address
        for each in networks
    ]


def distinct(networks: tuple[Network, ...]) -> list[Network]:
    """The networks without those that are another name for an earlier one."""
    first: dict[frozenset[int], Network] = {}
    for network in networks:
        first.setdefault(network.storage, network)
    return list(first.values())
