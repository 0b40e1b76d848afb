"""The one network of a file that is loaded: chosen, proved to fit exactly, its card filled in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from transferbench import backbones, renamed
from transferbench.backbones import Architecture, Shapes
from transferbench.checkpoints import Card, LoadReport, Origin, choice, digest, library_networks, networks
from transferbench.checkpoints.choice import listed
from transferbench.checkpoints.formats import File
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.networks import Interpretation, Network
from transferbench.checkpoints.overrides import Said, applied
from transferbench.checkpoints.overrides import said as overrides_said
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.save import stated_digest
from transferbench.checkpoints.states import StateDict, instead, state_dicts
from transferbench.checkpoints.tensor_accounting import TensorAccount, account
from transferbench.checkpoints.values import classifier, completed, is_buffer, require_bearable
from transferbench.errors import UserError

MOST_EPOCHS = 1_000_000
WAYS = (
    "If you know whose network it is, say so: --as arch=timm:NAME (or torchvision:, transformers:, open_clip:, or your "
    "own python:FILE.py:FUNCTION); or hand the module over from Python: transferbench.evaluate(module, ...)."
)
"""How a network that is not recognized can be judged all the same."""


@dataclass(frozen=True)
class Match:
    """A network that fits: its canonical tensors (views of the file), its card, the report, all networks there are."""

    weights: Weights
    card: Card
    report: LoadReport
    digest: str
    networks: tuple[Network, ...]


def recognize(
    contents: Contents,
    encoder: str | None = None,
    overrides: Sequence[str] = (),
    described: Architecture | None = None,
) -> Match:
    """The network the source itself evaluates, or the one called `encoder`.

    From the contents to their state dicts, to the networks in these, to the source that lays them out so, to the
    account of every tensor, to the match. What is not decided on the way is an error.

    Args:
        contents: the file.
        encoder: the label, prefix or key of a network in it.
        overrides: `NAME=VALUE`, arguments of the architecture or of its images that the file does not tell;
            `format=NAME`, the layout it has; `arch=LIBRARY:NAME`, whose network it is.
        described: the architecture that its library, or a file beside it, says the network has.

    Raises:
        UserError: when a tensor is missing, left over, misshapen or not finite, naming it.
    """
    said = overrides_said(overrides)
    known = said.architecture or described
    states, every = _networks(contents, known)
    refusals: list[UserError] = []
    for reading in _readings(contents, states, every, said.layout, known):
        try:
            return _match(contents, reading, every, encoder, said, known)
        except UserError as error:
            refusals.append(error)
    raise refusals[0]


def _networks(contents: Contents, known: Architecture | None) -> tuple[list[StateDict], list[Network]]:
    """The state dicts of a file, and the networks in them: where `known` is given, the whole ones of that."""
    try:
        states = state_dicts(contents.tree)
        every = library_networks.fitted(states, known) if known else _recognized(states)
    except UserError as error:
        raise UserError(f"{contents.path}: {error}") from None
    if not states:
        raise UserError(
            f"{contents.path} holds no state dict but {instead(contents.tree)}. "
            "Save the weights alone: torch.save(model.state_dict(), OUT)."
        )
    if known:
        return states, choice.whole(contents.path, every, known)
    at_root = any(not network.prefix for network in every)
    return states, every if at_root else [*every, *networks.headed(contents, states)]


def _recognized(states: list[StateDict]) -> list[Network]:
    own = networks.found(states)
    return [
        network
        for state in states
        for network in library_networks.found(state, [each for each in own if each.state is state])
    ]


def _readings(
    contents: Contents,
    states: list[StateDict],
    every: list[Network],
    asked: str | None,
    known: Architecture | None,
) -> list[Interpretation]:
    readings = networks.known(contents, states, every, asked)
    if known is not None:
        readings = [reading for reading in readings if not reading.layout.refusal]
    for reading in readings:
        if reading.layout.refusal:
            raise UserError(f"{contents.path} ({reading.format}) is refused: {reading.layout.refusal}.")
    if not readings and not every:
        count = sum(len(state.written) for state in states)
        names = (".".join((*state.path, name)) for state in states for name in state.written.values())
        few = ". They may be a head without its backbone" if count < networks.SMALLEST else ""
        raise UserError(
            f"{contents.path}: no network of a known architecture among {count} tensors: "
            f"{listed([*islice(names, 6)], 6, count)}{few}. {WAYS}"
        )
    if asked and not readings:
        raise UserError(
            f"{contents.path} is not of the format {asked}: what its layouts take as evidence is not in the file, or "
            f"no whole network where they look. Without --as format={asked} it is read as what it seems to be."
        )
    if readings:
        return readings
    unlisted = networks.unlisted(every, networks.lost_places(contents, states))
    return [replace(unlisted, format=known.family) if known is not None and unlisted.rivals == 1 else unlisted]


def _match(
    contents: Contents,
    reading: Interpretation,
    every: list[Network],
    encoder: str | None,
    said: Said,
    known: Architecture | None,
) -> Match:
    """The match of one way to read the file."""
    network = choice.of_the_source(contents, reading, choice.chosen(contents.path, reading, every, encoder))
    fit, others = _fitted(contents, reading, every, network, said), []
    if not said.settles(fit.card.architecture):
        network, others = choice.settled(contents.path, reading, fit.network, fit.card.architecture, fit.weights)
        if network.naming is not fit.network.naming:
            fit = _fitted(contents, reading, every, network, said)
    choice.require_family(contents.path, fit.card.architecture, said.family)
    if known is None and reading.layout.card is None:
        choice.require_statistics(contents.path, fit.card.architecture, fit.weights)
    card, overridden = _overridden(contents, fit.card, fit.weights, said.arguments)
    report = LoadReport(
        format=reading.format,
        encoder=f"{fit.network.label} ({fit.network.address})",
        matched=len(fit.accounted.kept),
        parameters=sum(tensor.numel() for name, tensor in fit.weights.items() if not is_buffer(name)),
        dropped=fit.accounted.dropped,
        assumed=[*fit.assumed, *others],
        overridden=overridden,
    )
    return Match(fit.weights, card, report, fit.digest, reading.networks)


@dataclass(frozen=True)
class _Fit:
    """A network whose tensors all fit an architecture, before anything is said of it by a person."""

    network: Network
    accounted: TensorAccount
    weights: Weights
    digest: str
    card: Card
    assumed: list[str]


def _fitted(contents: Contents, reading: Interpretation, every: list[Network], network: Network, said: Said) -> _Fit:
    """The network with its weights in canonical names, every tensor of its state dict accounted for.

    Raises:
        UserError: when it fits no architecture exactly, or several that compute differently; when a value is bad.
    """
    labels = {(n.state.path, n.prefix): n for n in reading.networks}
    accounted = account(network, [labels.get((n.state.path, n.prefix), n) for n in every])
    require_bearable(contents.path, accounted.kept)
    contents.check(accounted.kept.values())
    weights = network.naming.rename(accounted.kept)
    stated = _stated_card(contents, reading) if reading.layout.card else None
    network = choice.without_alike(network, weights)
    architecture, problems = _architecture(backbones.shapes(weights), network, stated)
    if architecture is None and not problems:
        raise choice.ambiguous(contents.path, network)
    if lost := [network.written(name) for name in network.naming.needs if name not in accounted.kept]:
        problems.append("  missing, though every file of its source has it: " + listed(lost))
    if accounted.unexplained:
        problems.append("  unrecognized tensors beside it: " + listed(accounted.unexplained))
        problems += [line for other in every if (line := _partial(other, network, accounted))]
    if architecture is None or problems:
        where = f"{contents.path} ({reading.format}, network '{network.label}' at {network.address})"
        ways = "" if said.layout or said.family or said.architecture else f"\n{WAYS}"
        raise UserError(f"{where} is refused.\n" + "\n".join(problems) + ways)
    weights, notes = completed(contents.path, weights, architecture)
    identity = digest(weights)
    if stated:
        if stated_digest(contents.header) != identity:
            raise UserError(f"{contents.path} was damaged: its digest does not match its weights. Copy it again.")
        return _Fit(network, accounted, weights, identity, stated, [])
    card, assumed = _card(contents, reading, network, architecture)
    return _Fit(network, accounted, weights, identity, card, [*assumed, *notes, *_told(network, accounted)])


def _stated_card(contents: Contents, reading: Interpretation) -> Card:
    """The card in a file's header, of a network that can be built."""
    assert reading.layout.card is not None, "only such layouts have one"
    try:
        card = reading.layout.card(contents.header)
        if backbones.FAMILIES.has(card.architecture.family):
            backbones.expected_shapes(card.architecture)
            return card
    except UserError as error:
        raise UserError(f"{contents.path}: the card in its header: {error}") from None
    raise UserError(
        f"{contents.path} is of the backbone family {card.architecture.family}, whose code is not part of this "
        f"package. If you trust it, name it on the command line too: --code {card.architecture.family}"
    )


def _card(
    contents: Contents, reading: Interpretation, network: Network, architecture: Architecture
) -> tuple[Card, list[str]]:
    """The card of a foreign file, and what it takes for granted."""
    layout, file = reading.layout, File(contents, network.state)
    settled = layout.settle(architecture, file)
    architecture = backbones.complete(
        Architecture(family=architecture.family, arguments={**architecture.arguments, **settled.arguments})
    )
    assumed = [*backbones.assumptions(architecture), *settled.assumed]
    if reading.format == networks.UNKNOWN:
        assumed.append("ImageNet's normalization (the source is unknown)")
    origin = Origin(method=layout.method, epochs=_epochs(file) if layout.method else None)
    preprocess = layout.preprocess(architecture, file)
    return Card(architecture=architecture, preprocess=preprocess, origin=origin), assumed


def _overridden(contents: Contents, card: Card, weights: Weights, overrides: Sequence[str]) -> tuple[Card, list[str]]:
    if not overrides:
        return card, []
    architecture, preprocess, said = applied(card.architecture, card.preprocess, overrides)
    problems = backbones.misfits(architecture, backbones.shapes(weights))
    if problems:
        raise UserError(f"{contents.path} does not fit with --as {' --as '.join(overrides)}: {listed(problems)}.")
    return card.model_copy(update={"architecture": architecture, "preprocess": preprocess}), said


def _architecture(shapes: Shapes, network: Network, card: Card | None) -> tuple[Architecture | None, list[str]]:
    def note(name: str) -> str:
        written = network.spelled(name)
        return "" if written == [name] else f" (in the file: {', '.join(written)})"

    if card is not None:
        problems = backbones.misfits(card.architecture, shapes)
        named = f"{len(problems)} mismatch(es) with {card.architecture.name}: " if problems else ""
        return backbones.complete(card.architecture), [named + listed(problems)] if problems else []
    if network.members is not None:
        if len(network.architectures) != 1:
            return None, []
        (stated, *_), *_ = network.architectures
        lost = backbones.misfits(stated, shapes, note) if network.misfits or network.naming.library else []
        nearest = f"Nearest: {stated.family}:{stated.name}, with {len(lost)} mismatch(es): " if lost else ""
        return stated, [nearest + listed(lost)] if lost else []
    try:
        return backbones.identify(shapes, note), []
    except UserError as error:
        statistics = [name for name in shapes if "running_" in name]
        has_norms = "running_mean" in str(error)
        lost = "\nNo batch-norm statistics: they were not saved, and without them the network cannot be evaluated."
        return None, [str(error) + (lost if has_norms and not statistics and network.misfits >= choice.SHOWN else "")]


def _partial(other: Network, network: Network, accounted: TensorAccount) -> str:
    """What another network of the state dict lacks, when its tensors are unexplained for want of being whole."""
    left = set(accounted.unexplained)
    names = [name for name, full in other.state.written.items() if full in left]
    if other.state is not network.state or other.prefix == network.prefix or not any(map(other.holds, names)):
        return ""
    lines = _architecture(other.shapes(), other, None)[1]
    return f"  '{other.label}' at {other.address} is not whole either. " + "".join(lines)


def _told(network: Network, accounted: TensorAccount) -> list[str]:
    """What the tensors left out tell of the training."""
    classes = classifier(network, accounted)
    if not classes:
        return []
    return [f"a classifier of {classes} classes lies beside it: supervised, a linear probe or fine-tuned"]


def _epochs(file: File) -> int | None:
    epochs = file.top.get("epoch")
    return epochs if isinstance(epochs, int) and 0 <= epochs <= MOST_EPOCHS else None


__getattr__ = renamed.names_of(__name__)
