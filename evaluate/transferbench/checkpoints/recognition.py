"""The one network of a file that is loaded: chosen, proved to fit exactly, its card filled in."""

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card, LoadReport, Origin, digest, networks
from transferbench.checkpoints.formats import Weights, reason
from transferbench.checkpoints.networks import Network, Reading
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.save import stated_digest
from transferbench.checkpoints.states import state_dicts
from transferbench.errors import UserError, unknown

SHOWN = 8
"""How many names an error lists."""


@dataclass(frozen=True)
class Match:
    """A network that fits: its canonical tensors (views of the file), its card, the report, all networks there are."""

    weights: Weights
    card: Card
    report: LoadReport
    digest: str
    networks: tuple[Network, ...]


def recognise(contents: Contents, encoder: str | None = None) -> Match:
    """The network the source itself evaluates, or the one called `encoder`.

    Raises:
        UserError: when a tensor is missing, left over, misshapen or not finite, naming it.
    """
    states = state_dicts(contents.tree)
    if not states:
        found = getattr(contents.tree, "origin", type(contents.tree).__name__)
        raise UserError(
            f"{contents.path} holds no state dict but a {found}, which is never executed. "
            "Save the weights alone: torch.save(model.state_dict(), OUT)."
        )
    refusals: list[UserError] = []
    for reading in networks.known(contents, states) or [networks.unlisted(states)]:
        try:
            return _match(contents, reading, encoder)
        except UserError as error:
            refusals.append(error)
    raise refusals[0]


def _match(contents: Contents, reading: Reading, wanted: str | None) -> Match:
    network = _chosen(contents, reading, wanted)
    kept, dropped, unexplained = _split(reading, network)
    weights = reading.layout.rename(kept)
    card = reading.layout.card(contents.header) if reading.layout.card else None
    architecture, problems = _fit(weights, card)
    if unexplained:
        problems.append("  tensors of no known use beside it: " + _listed(unexplained))
    if architecture is None or problems:
        where = f"{contents.path} ({reading.format}, network '{network.label}' at {network.address})"
        raise UserError(f"{where} is refused.\n" + "\n".join(problems))
    weights = _completed(contents, weights, architecture)
    identity = digest(weights)
    if card and stated_digest(contents.header) != identity:
        raise UserError(f"{contents.path} was damaged: its digest does not match its weights. Copy it again.")
    card, assumed = (card, []) if card else _card(contents, reading, architecture)
    if len(kept) < len(weights):
        assumed.append("step counters (num_batches_tracked), which no forward pass reads, are absent and set to 0")
    report = LoadReport(
        format=reading.format,
        encoder=f"{network.label} ({network.address})",
        matched=len(kept),
        parameters=sum(tensor.numel() for name, tensor in weights.items() if not _is_buffer(name)),
        dropped=dropped,
        assumed=assumed,
    )
    return Match(weights, card, report, identity, reading.networks)


def _card(contents: Contents, reading: Reading, architecture: Architecture) -> tuple[Card, list[str]]:
    """The card of a foreign file, and what it takes for granted."""
    layout = reading.layout
    settled = layout.settle(architecture)
    architecture = backbones.complete(
        Architecture(family=architecture.family, arguments={**architecture.arguments, **settled.arguments})
    )
    assumed = [*backbones.assumptions(architecture), *settled.assumed]
    if reading.format == networks.UNKNOWN:
        assumed.append("ImageNet's normalisation (the source is unknown)")
    origin = Origin(method=layout.method, epochs=_epochs(contents) if layout.method else None)
    return Card(architecture=architecture, preprocess=layout.preprocess(architecture), origin=origin), assumed


def _chosen(contents: Contents, reading: Reading, wanted: str | None) -> Network:
    labels = [network.label for network in networks.distinct(reading.networks)]
    if wanted is not None:
        chosen = next((network for network in reading.networks if network.label == wanted), None)
        if chosen is None:
            raise unknown(f"network of {contents.path}", wanted, labels)
        return chosen
    rivals = networks.distinct(tuple(network for network in reading.networks if not network.is_copy))
    if reading.format == networks.UNKNOWN and len(rivals) > 1:
        raise UserError(
            f"{contents.path} is of unknown source and holds {len(rivals)} networks: {', '.join(labels)}. "
            "Choose one with --encoder."
        )
    return reading.networks[0]


def _split(reading: Reading, network: Network) -> tuple[Weights, dict[str, list[str]], list[str]]:
    """The network's own tensors, the names dropped by reason, and the names nothing explains."""
    kept: Weights = {}
    dropped: dict[str, list[str]] = defaultdict(list)
    unexplained: list[str] = []
    siblings = [n for n in reading.networks if n.state is network.state and n.prefix and n is not network]
    for name, tensor in network.state.tensors.items():
        is_inside = name.startswith(network.prefix)
        local = name.removeprefix(network.prefix)
        why = reason(reading.layout.heads, local) if is_inside else reason(reading.layout.others, name)
        owner = next((n.label for n in siblings if not is_inside and name.startswith(n.prefix)), None)
        if why or owner:
            dropped[why or f"network '{owner}'"].append(network.state.written[name])
        elif is_inside:
            kept[local] = tensor
        else:
            unexplained.append(network.state.written[name])
    return kept, dict(dropped), unexplained


def _fit(weights: Weights, card: Card | None) -> tuple[Architecture | None, list[str]]:
    shapes = backbones.shapes(weights)
    if card is not None:
        problems = backbones.misfits(card.architecture, shapes)
        named = f"{len(problems)} misfit(s) with {card.architecture.name}: " if problems else ""
        return backbones.complete(card.architecture), [named + _listed(problems)] if problems else []
    try:
        return backbones.identify(shapes), []
    except UserError as error:
        return None, [str(error)]


def _completed(contents: Contents, weights: Weights, architecture: Architecture) -> Weights:
    """The tensors with absent step counters as zero, after proof that the others can be weights."""
    problems = [f"{name} {problem}" for name, tensor in weights.items() if (problem := _problem(name, tensor))]
    if problems:
        raise UserError(f"{contents.path} does not hold usable weights: {_listed(problems)}.")
    absent = backbones.expected_shapes(architecture).keys() - weights.keys()
    return {**weights, **{name: torch.zeros((), dtype=torch.int64) for name in absent}}


def _problem(name: str, tensor: Tensor) -> str:
    if name.endswith("num_batches_tracked"):
        return ""
    if not tensor.is_floating_point():
        return f"is {tensor.dtype}, not floating point"
    if not torch.isfinite(tensor).all():
        return "has NaN or infinite values"
    return "has negative values" if name.endswith("running_var") and (tensor < 0).any() else ""


def _is_buffer(name: str) -> bool:
    return name.endswith(("num_batches_tracked", "running_mean", "running_var"))


def _epochs(contents: Contents) -> int | None:
    epochs = contents.tree.get("epoch") if isinstance(contents.tree, dict) else None
    return epochs if isinstance(epochs, int) else None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
