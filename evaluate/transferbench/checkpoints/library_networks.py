"""Networks of a file that are a library's own: found by names and shapes, or fitted to an architecture."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice

import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import COUNTER, Architecture, Shapes
from transferbench.checkpoints import shape_index, sizes, unused_tensors
from transferbench.checkpoints.naming import Naming, schemes
from transferbench.checkpoints.networks import SMALLEST, Network
from transferbench.checkpoints.shape_index import SIZED, Entry
from transferbench.checkpoints.states import APART, StateDict
from transferbench.errors import UserError

AS_IT_IS = Naming("the library's own names", ())
INDICES = (r"(?:.+\.)?(?:position_ids|relative_position_index)",)
"""Tables that a library computes itself, which files of its earlier versions hold."""
DEEPEST = 5
"""Parts of a name that a prefix may have."""
CLASSIFIERS = tuple(
    re.compile(rf"(?:{names})\.(?:weight|bias)")
    for names in (
        r"fc|classifier|head|head\.fc|last_linear|heads\.head|logits",
        r"(?:(?:fc|classifier|last_linear|classif|aux_head|logits)|heads?(?:_dist)?(?:\.\w+){0,2})",
    )
)
"""What timm's and torchvision's classifiers are called: the usual ones, and all."""
NESTED = (
    "head.fc.fc2",
    "head.linear",
    "head.head.l",
    "head.classifier.4",
    "head.classifier.linear",
    "head.fc2",
    "head.l",
)
"""Classifiers of timm's that lie inside a head whose other layers are the network's."""
LAST = re.compile(r"classifier\.(\d+)\.(?:weight|bias)")
"""A layer of torchvision's classifiers, the last of which tells classes apart."""
MOST_BUILT = 6
"""Architectures that are built, on the meta device, to see for which size of images they have the shapes."""


def found(state: StateDict, own: Iterable[Network]) -> list[Network]:
    """The networks of libraries in a state dict; our own ones, where they are whole, with the others that would fit.

    Args:
        state: names and tensors.
        own: the networks of our families in it.
    """
    by_prefix = {network.prefix: network for network in own}
    whole = [prefix for prefix, network in by_prefix.items() if not network.misfits]
    fitting: list[Network] = []
    lost: list[Network] = []
    for prefix in _prefixes(state):
        if any(prefix.startswith(each) and prefix != each for each in whole):
            continue
        network = _at(state, prefix)
        if network is None:
            continue
        if network.misfits:
            lost.append(network)
        elif prefix in whole:
            fitting.append(replace(by_prefix[prefix], architectures=network.architectures))
        else:
            whole.append(prefix)
            fitting.append(network)
    nearest = {network.prefix: network for network in lost if network.prefix not in whole}
    by_prefix |= {p: n for p, n in nearest.items() if p not in by_prefix or n.misfits <= by_prefix[p].misfits}
    taken = {network.prefix for network in fitting}
    inside = tuple(network.prefix for network in fitting if network.members)
    kept = [n for n in by_prefix.values() if n.prefix not in taken and not (n.misfits and _below(n.prefix, inside))]
    return [*fitting, *kept] if fitting else list(by_prefix.values())


def _below(prefix: str, others: tuple[str, ...]) -> bool:
    return bool(others) and prefix.startswith(others)


def fitted(states: Iterable[StateDict], architecture: Architecture) -> list[Network]:
    """The places in a file where a network of this architecture may lie, the one that fits best first.

    Every naming scheme is tried: a source may spell a library's network otherwise than the library.
    """
    expected = {name for name in backbones.expected_shapes(architecture) if not name.endswith(COUNTER)}
    places: list[Network] = []
    for state in states:
        for prefix in _prefixes(state):
            spelled = (_of(state, prefix, naming, expected, architecture) for naming in _namings(architecture))
            if options := [network for network in spelled if network is not None]:
                places.append(min(options, key=lambda network: network.misfits))
    return sorted(places, key=lambda network: network.misfits)


def _namings(architecture: Architecture) -> list[Naming]:
    """How files may spell such a network: by the library's own table where it has one, else in every known scheme."""
    family = backbones.FAMILIES.registered(architecture.family)
    spelled = getattr(family, "spelled", None)
    below = getattr(family, "BELOW", ())
    if spelled is None:
        return [replace(AS_IT_IS, below=below), *schemes()]
    own = spelled(architecture.arguments)
    named = f"names of {architecture.family}'s files"
    spelling = Naming(named, (), adapt=own.renamed, unused=INDICES, members=own.members, beside=below, below=below)
    return [spelling, AS_IT_IS]


def _of(
    state: StateDict, prefix: str, naming: Naming, expected: set[str], architecture: Architecture
) -> Network | None:
    """The network below a prefix in a scheme's names, when at least half of what is expected is there."""
    begin = len(prefix)
    names = [name[begin:] for name in state.below(prefix)]
    tensors = {name: state.tensors[prefix + name] for name in names}
    if naming.members:
        own = naming.members(names)
        tensors = {name: tensor for name, tensor in tensors.items() if name in own}
    try:
        canonical = naming.rename(_shapes_alone(tensors))
    except ValueError:  # a name for what has another already
        return None
    if 2 * len(expected & canonical.keys()) < len(expected):
        return None
    spelled = {each for name in expected for each in naming.spell(name)} if naming.rows else expected
    spelled = tensors.keys() if naming.members else spelled
    members = frozenset(
        name
        for name in names
        if name in spelled
        or name.endswith(COUNTER)
        or (naming.adapt is not dict and expected & naming.rename({name: state.tensors[prefix + name]}).keys())
    )
    shapes = backbones.shapes(naming.rename(_shapes_alone({name: state.tensors[prefix + name] for name in members})))
    misfits = len(backbones.misfits(architecture, shapes))
    label = prefix.strip(f".{APART}") or state.key or "backbone"
    return Network(label, state, prefix, naming, misfits, (), members, ((architecture,),))


def _shapes_alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.empty(tensor.shape, device="meta") for name, tensor in tensors.items()}


def _prefixes(state: StateDict) -> list[str]:
    """What many names begin with, up to a dot; the shortest first."""
    counts: Counter[str] = Counter()
    for name in state.tensors:
        parts = name.split(".")
        counts.update(".".join([*parts[:depth], ""]) for depth in range(min(len(parts), DEEPEST)))
    return sorted((prefix for prefix, count in counts.items() if count >= SMALLEST), key=len)


def _at(state: StateDict, prefix: str) -> Network | None:
    """The network whose names and shapes are those below a prefix: in a library's index, or a source's of its own."""
    begin = len(prefix)
    shapes: Shapes = {name[begin:]: tuple(state.tensors[name].shape) for name in state.below(prefix)}
    label = prefix.strip(f".{APART}") or state.key or "backbone"
    if hit := _hit(tuple(shapes.items())):
        return Network(label, state, prefix, AS_IT_IS, 0, (), *hit)
    spelled = [each for naming in _spelled(prefix, list(shapes)) if (each := _told(state, prefix, label, naming))]
    nearest = min(spelled, key=lambda network: network.misfits, default=None)
    if nearest and not nearest.misfits:
        return nearest
    if hit := _hit(tuple(shapes.items()), has_other_depth=True):
        return Network(label, state, prefix, AS_IT_IS, 0, (), *hit)
    return nearest


@lru_cache(512)
def _hit(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], has_other_depth: bool = False
) -> tuple[frozenset[str], tuple[tuple[Architecture, ...], ...]] | None:
    """The names that are an indexed network's own, and its architectures; kept, as many files are of one network."""
    for part in _parts(dict(shapes)):
        if groups := _of_another_depth(part) if has_other_depth else _indexed(part):
            return frozenset(part), groups
    return None


def _spelled(prefix: str, local: list[str]) -> Iterator[Naming]:
    """The sources' own spellings of a library's networks that names below a prefix may be in."""
    return (naming for naming in schemes() if naming.library and "" in naming.prefixes(local))


def _told(state: StateDict, prefix: str, label: str, naming: Naming) -> Network | None:
    """The network in a source's spelling; of several architectures that it may be, the nearest."""
    network = Network(label, state, prefix, naming, 0)
    written = {name.removeprefix(prefix): tuple(state.tensors[name].shape) for name in state.below(prefix)}
    own = naming.members(written) if naming.members else network.weights()
    if not own:
        return None
    network = replace(network, members=frozenset(own))
    shapes = network.shapes()
    if naming.proposes:
        nearest = sizes.ranked(naming.proposes(shapes), shapes, naming.library)
    else:
        nearest = sizes.nearest(naming, shapes, naming.tells(written))
    if not nearest or 2 * nearest[0][0] > len(shapes):
        return None
    groups: dict[str, tuple[Architecture, ...]] = {}
    for _, architecture in nearest:
        groups.setdefault(_mark(architecture), _pooled((architecture,), naming))
    misfits = nearest[0][0]
    return replace(network, misfits=misfits, architectures=tuple(groups.values())[: 1 if misfits else None])


def _mark(architecture: Architecture) -> str:
    return shape_index.structure(backbones.build(architecture, device="meta"))


def _pooled(group: tuple[Architecture, ...], naming: Naming) -> tuple[Architecture, ...]:
    if not naming.pooling:
        return group
    return tuple(
        Architecture(family=each.family, arguments={**each.arguments, "pooling": naming.pooling}) for each in group
    )


def _indexed(shapes: Shapes) -> tuple[tuple[Architecture, ...], ...]:
    """The index's architectures of these names and shapes, in groups that compute alike."""
    index = shape_index.index()
    groups = [
        tuple(Architecture(family=each.library, arguments={"name": each.name}) for each in group)
        for group in shape_index.distinct(index.fits(shapes))
    ]
    return _ordered(groups or _resized(index.resized(shapes), shapes))


def _of_another_depth(shapes: Shapes) -> tuple[tuple[Architecture, ...], ...]:
    """The index's architectures that have these names and shapes but for the number of blocks, with that number."""
    index = shape_index.index()
    groups: dict[str, list[Architecture]] = {}
    for deep in sizes.deepened(shapes):
        computing = shape_index.distinct(index.fits(deep) or index.resized(deep))
        for entry in (min(group, key=lambda each: len(each.name)) for group in islice(computing, 2 * MOST_BUILT)):
            cut = sizes.resized(entry.name, shapes, library=entry.library)
            if cut is None:
                continue
            try:
                if backbones.misfits(cut, shapes):
                    continue
                mark = _mark(cut)
            except UserError:
                continue
            groups.setdefault(mark, []).append(cut)
    return _ordered([tuple(group) for group in groups.values()])


def named(shapes: Shapes) -> tuple[tuple[Architecture, ...], ...]:
    """A library's architectures of these names and shapes, whatever their depth."""
    return _indexed(shapes) or _of_another_depth(shapes)


def _ordered(groups: Iterable[tuple[Architecture, ...]]) -> tuple[tuple[Architecture, ...], ...]:
    """The plainest names first."""
    complete = [tuple(sorted(map(backbones.complete, group), key=_plainness)) for group in groups]
    return tuple(sorted(complete, key=lambda group: _plainness(group[0])))


def _plainness(architecture: Architecture) -> tuple[int, str]:
    return len(architecture.arguments["name"]), architecture.arguments["name"]


def _parts(shapes: Shapes) -> Iterator[Shapes]:
    """The tensors, and what is left without a classifier, and without all that other words explain."""
    yield shapes
    for pattern in CLASSIFIERS:
        bare = {name: shape for name, shape in shapes.items() if not pattern.fullmatch(name)}
        if len(bare) < len(shapes):
            yield bare
    for inner in NESTED:
        if f"{inner}.weight" in shapes:
            yield {name: shape for name, shape in shapes.items() if name.rpartition(".")[0] != inner}
    if numbers := [int(match[1]) for name in shapes if (match := LAST.fullmatch(name))]:
        yield {n: shape for n, shape in shapes.items() if not (m := LAST.fullmatch(n)) or int(m[1]) != max(numbers)}
    bare = {name: shape for name, shape in shapes.items() if not CLASSIFIERS[0].fullmatch(name)}
    own = {name: shape for name, shape in bare.items() if unused_tensors.inside(name) is None}
    if len(own) < len(bare):
        yield own
    kept = {name: shape for name, shape in bare.items() if name.startswith("head") or name in own}
    if len(own) < len(kept) < len(bare):
        yield kept
    named = {name: shape for name, shape in bare.items() if unused_tensors.exact(name) is None}
    if len(own) < len(named) < len(bare):
        yield named


def _resized(entries: tuple[Entry, ...], shapes: Shapes) -> list[tuple[Architecture, ...]]:
    """The architectures at the size of images for which they have these shapes."""
    fitting: list[tuple[Architecture, ...]] = []
    for group in list(shape_index.distinct(entries))[:MOST_BUILT]:
        for side in _sides(group[0], shapes):
            arguments = {"name": group[0].name, "arguments": {"img_size": side}}
            architecture = Architecture(family=group[0].library, arguments=arguments)
            try:
                if not backbones.misfits(architecture, shapes):
                    fitting.append((architecture,))
                    break
            except UserError:
                continue
    return fitting


def _sides(entry: Entry, shapes: Shapes) -> list[int]:
    """Sizes of images that would make its largest sized tensor as long as it is."""
    plain = backbones.build(Architecture(family=entry.library, arguments={"name": entry.name}), device="meta")
    side = getattr(plain, "side", 224)
    expected = backbones.shapes(plain.state_dict())
    sides: dict[int, None] = {}
    for name, shape in expected.items():
        if not SIZED.fullmatch(name) or name not in shapes or shapes[name] == shape:
            continue
        before, now = max(math.prod(shape[:-1]), 1), max(math.prod(shapes[name][:-1]), 1)
        for prefix in range(8):
            old, new = math.isqrt(max(before - prefix, 0)), math.isqrt(max(now - prefix, 0))
            if old and new and old**2 == before - prefix and new**2 == now - prefix and side * new % old == 0:
                sides.setdefault(side * new // old)
        old, new = (math.isqrt(before) + 1) // 2, (math.isqrt(now) + 1) // 2
        if old and (2 * new - 1) ** 2 == now and side * new % old == 0:  # a table of relative positions
            sides.setdefault(side * new // old)
    return list(sides)
