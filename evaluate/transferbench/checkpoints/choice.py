"""Which network of a file is meant, and of several that have its names and shapes, which it is."""

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import library_networks, networks
from transferbench.checkpoints.equality import compute_alike
from transferbench.checkpoints.formats import File
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.networks import Interpretation, Network
from transferbench.checkpoints.overrides import OWN
from transferbench.checkpoints.reading import Contents
from transferbench.errors import UserError, unknown

SHOWN = 8
"""How many names an error lists."""
BATCH_NORM = re.compile(r"(?:^|\.)bn\d*\.weight$")
"""Weights that a batch norm has by its name."""
UNSETTLED = {networks.UNKNOWN, "timm", "torchvision"}
"""Formats that are names alone, which networks of other computations share."""
PLAIN = {
    "resnet": "ReLU, no blur or attention between its layers",
    "vit": "exact GELU (or SwiGLU by its shapes), no rotary positions, layer norms of epsilon {norm_eps:g}",
    "swin": "exact GELU, layer norms of epsilon {norm_eps:g}",
}
"""What no tensor tells of a network of ours that no library has by these names and shapes."""
SYNONYMS = ({"ema", "teacher", "target", "momentum", "target_encoder"}, {"online", "student", "backbone", "encoder"})
"""Labels that `--encoder` takes for one another where the file has only one of them."""


def chosen(path: Path, reading: Interpretation, every: list[Network], wanted: str | None) -> Network:
    """The network wanted, or the layout's first; of an unknown source the only one, or a broken one, to say so."""
    whole = tuple(network for network in every if network.misfits == 0)
    meant = (*reading.networks, *whole) if reading.layout.names_only else reading.networks
    there = networks.distinct(meant)
    labels = networks.labels(there)
    if wanted is not None:
        chosen = next((network for network in meant if wanted in _names(network)), None)
        chosen = chosen or next((n for n, label in zip(there, labels, strict=True) if label == wanted), None)
        alike = [n for n in there if any({wanted, n.label} <= words for words in SYNONYMS)]
        if chosen is None and len(alike) != 1:
            raise unknown(f"network of {path}", wanted, labels)
        return chosen or alike[0]
    if reading.format == networks.UNKNOWN and (lost := networks.broken(every)):
        return lost[0]
    if reading.rivals > 1:
        raise UserError(
            f"{path} holds {reading.rivals} networks and nothing in it says which is meant: "
            f"{', '.join(labels)}. Choose one with --encoder {labels[0]}."
        )
    return reading.networks[0]


def _names(network: Network) -> set[str]:
    """What a person may call a network."""
    return {network.label, network.address, network.prefix, network.prefix.rstrip("."), network.state.key} - {""}


def whole(path: Path, fitted: list[Network], known: Architecture) -> list[Network]:
    """The places where a network of the architecture is whole.

    Raises:
        UserError: when there is none, with what keeps the nearest from it.
    """
    whole = [network for network in fitted if not network.misfits]
    if whole:
        return whole
    if not fitted:
        raise UserError(f"{path} holds nothing that resembles {known.family}:{known.name}.")
    nearest = fitted[0]
    problems = backbones.misfits(known, nearest.shapes())
    raise UserError(
        f"{path} does not fit {known.family}:{known.name}. Nearest is '{nearest.label}' at "
        f"{nearest.address or 'the top'}, with {len(problems)} mismatch(es): {listed(problems)}."
    )


def of_the_source(contents: Contents, reading: Interpretation, network: Network) -> Network:
    """Of several architectures of these names and shapes, those that the source has."""
    if network.members is None or len(network.architectures) < 2:
        return network
    file = File(contents, network.state)
    kept = tuple(group for group in network.architectures if reading.layout.has(group[0], file))
    return replace(network, architectures=kept or network.architectures)


def without_alike(network: Network, weights: Weights) -> Network:
    """The network with those of its architectures in one group that give the same features."""
    if network.members is None or network.misfits or len(network.architectures) < 2:
        return network
    groups: list[tuple[Architecture, ...]] = []
    for group in network.architectures:
        if not any(compute_alike((group[0], weights), (other[0], weights)) for other in groups):
            groups.append(group)
    return replace(network, architectures=tuple(groups))


def settled(
    path: Path, reading: Interpretation, network: Network, architecture: Architecture, weights: Weights
) -> tuple[Network, list[str]]:
    """The network, or as a library's where only that has these names and shapes; and what others there are.

    A recognized source settles which network it is. Otherwise ours, the plain one that most files are of, is taken if
    it computes what one of the library's does, and the others are told; if it does not, they must be chosen from.

    Raises:
        UserError: when several fit and nothing says which it is.
    """
    if network.members is not None or reading.format not in UNSETTLED:
        return network, []
    if not network.architectures:
        plain = PLAIN.get(architecture.family, "").format(**architecture.arguments)
        return network, [f"computed as a plain {architecture.family}: {plain}"] if plain else []
    groups, local = network.architectures, network.weights()
    alike = [group for group in groups if any(each.name == architecture.name for each in group)]
    ours = architecture, weights
    alike = alike or [*islice((group for group in groups if compute_alike(ours, (group[0], local))), 1)]
    others = [group[0] for group in groups if group not in alike]
    if not alike and weights.keys() != local.keys():
        equal = library_networks.named(backbones.shapes(weights))
        raise ambiguous(path, replace(network, architectures=(*network.architectures, *equal)))
    if not alike and len(others) == 1:
        word = f"{others[0].family}:{others[0].name} is the only known network of these names and shapes"
        members = frozenset(local)
        return replace(network, naming=library_networks.AS_IT_IS, members=members, misfits=0), [word]
    if not alike:
        raise ambiguous(path, network)
    if not others:
        return network, []
    names = [f"{each.family}:{each.name}" for each in others]
    return network, [
        f"read as {architecture.name}, the plainest of several networks of these names and shapes that compute "
        f"differently ({listed(names, 4)}): if it is one of those, --as arch={names[0]}"
    ]


def ambiguous(path: Path, network: Network) -> UserError:
    """Several architectures that compute otherwise have the names and shapes of this file."""
    names = [f"{group[0].family}:{group[0].arguments['name']}" for group in network.architectures]
    given = [" ".join([f"--as arch={names[0]}", *_given(network.architectures[0][0])])]
    return UserError(
        f"{path}: {len(names)} networks that compute differently have exactly these names and shapes: "
        f"{listed(names, 20)}. Say which it is: {given[0]}"
    )


def _given(architecture: Architecture) -> list[str]:
    """What a library's network is given beside its name, as a person says it."""
    return [f"--as arguments.{name}={value}" for name, value in dict(architecture.arguments["arguments"]).items()]


def require_family(path: Path, architecture: Architecture, stated: str | None) -> None:
    """Refuse a network that is of another family than the one of ours that a person says it is of."""
    if stated is not None and architecture.family != stated:
        raise UserError(
            f"{path} is no {stated}, as --as arch={stated} says: its names and shapes are those of "
            f"{architecture.family}:{architecture.name}. Leave --as arch={stated} out to read it as that."
        )


def require_statistics(path: Path, architecture: Architecture, weights: Weights) -> None:
    """Refuse what may be a network of batch norms saved without their statistics: a group norm has the same names."""
    if architecture.family in OWN or any("running_" in name for name in weights):
        return
    if norms := [name for name in weights if BATCH_NORM.search(name)]:
        name = f"{architecture.family}:{architecture.name}"
        raise UserError(
            f"{path} has the names and shapes of {name}, and of a network whose batch-norm statistics were "
            f"not saved ({norms[0]} has no running_mean beside it). If it is the former: --as arch={name}. The latter "
            "cannot be evaluated: save model.state_dict(), which holds them."
        )


def listed(names: list[str], shown: int = SHOWN, count: int = 0) -> str:
    """The first names, and how many of the `count` there are (by default all) are left out."""
    count = count or len(names)
    more = f" and {count - shown} more" if count > shown else ""
    return ", ".join(names[:shown]) + more
