"""Checkpoints by the name a library knows them by: one library a file, each offering `find(name) -> Located`.

Files are fetched with the library's own downloader and read with our own reader: nothing of them is executed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import beside, library_versions, reading
from transferbench.checkpoints.equality import CLOSE, compute_alike
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.overrides import ARCH
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.recognition import Match, recognize
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError, require_of_hub
from transferbench.registries import LIBRARIES as LIBRARIES
from transferbench.settings import parse_override


@dataclass(frozen=True)
class Located:
    """Where a checkpoint lies on this machine, and what its library says of it that the file does not."""

    path: Path
    name: str | None = None
    """What tables call it; None: what the file is called."""
    source: str | None = None
    """The URL, or repository, file and revision, that it was downloaded from."""
    overrides: tuple[str, ...] = ()
    """`NAME=VALUE`, as `--as` takes them."""
    told: tuple[str, ...] = ()
    """Where the overrides come from, and what they leave out, in words for the report."""
    architecture: Architecture | None = None
    """The library's own network."""
    own: tuple[str, ...] = ()
    """`NAME=VALUE` that a network of our families needs to compute what the library's does."""
    needs: str = ""
    """What to install for the library whose network it is."""


def locate(file: str | Path) -> Located:
    """A local file, or the weights in a local folder; `LIBRARY:NAME` downloaded, unless a file of that name is here.

    Raises:
        UserError: when the library knows no such name or the download fails, saying what to do.
    """
    path = Path(file).expanduser()
    library, colon, name = str(file).partition(":")
    if not colon or library not in LIBRARIES.names() or path.exists():
        weights = beside.weights(path)
        return Located(weights, None if weights == path else path.resolve().name)
    require_of_hub(str(file), library)
    return LIBRARIES.load(library).find(name)


def opened(
    file: str | Path, encoder: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Located, Contents, Match]:
    """A checkpoint located, read and recognized, with what its library says of it; `overrides` have the last word.

    Where a library, or a file beside the weights, says which of its networks they are of, that network is taken; one of
    our families in its place where it gives the same features on the same weights.

    Raises:
        UserError: when it cannot be had or read, or does not fit exactly.
    """
    located = _with_what_lies_beside(locate(file))
    contents = reading.read(located.path)
    try:
        match, notes = matched(contents, located, encoder, overrides)
    except UserError as error:
        if located.needs:
            raise UserError(f"{error} {located.needs}.") from None
        raise
    card, changed = library_versions.signed(match.card, match.weights)
    report = match.report.model_copy(update={"assumed": [*match.report.assumed, *located.told, *notes, *changed]})
    origin = card.origin.model_copy(update={"source": located.source})
    card = card.model_copy(update={"origin": origin}) if located.source else card
    return located, contents, replace(match, card=card, report=report)


def _with_what_lies_beside(located: Located) -> Located:
    """What a description in the same folder says, where the library that a name is of has not said it."""
    if located.architecture is not None:
        return located
    said = beside.described(located.path)
    return replace(
        located,
        overrides=(*said.images, *located.overrides),
        told=(*said.told, *located.told),
        architecture=said.architecture,
        own=(*said.own, *located.own),
        needs=said.needs,
    )


def matched(
    contents: Contents, located: Located, encoder: str | None, overrides: Sequence[str]
) -> tuple[Match, list[str]]:
    """The network that fits, and what is to be said of the choice."""
    described = located.architecture
    if described is None or any(each.startswith(ARCH) for each in overrides):
        return recognize(contents, encoder, [*located.overrides, *overrides]), []
    described = _said_of(described, overrides)
    _require_buildable(described)
    try:
        theirs = recognize(contents, encoder, [*located.overrides, *_unless_own(overrides, described)], described)
    except UserError as error:
        if located.source:
            raise
        try:
            match = recognize(contents, encoder, [*located.overrides, *overrides])
        except UserError:
            raise error from None
        return match, [f"the config beside it is of another network ({described.family}:{described.name}): {error}"]
    try:
        ours = recognize(contents, encoder, [*located.overrides, *located.own, *overrides])
    except UserError:
        return theirs, []
    own = ours.card.architecture.arguments.keys() - described.arguments.keys()
    changed = {override.partition("=")[0] for override in overrides} & own
    if changed or compute_alike(_weighted(ours), _weighted(theirs)):
        proof = (
            f"features compared with {described.family}'s own {described.name} on the same weights: within {CLOSE:g}"
        )
        return ours, [] if changed else [f"{proof} of the largest"]
    return theirs, []


def _require_buildable(described: Architecture) -> None:
    """Refuse a network that its library does not build here: whether another is the same, nothing can then show."""
    try:
        backbones.expected_shapes(described)
    except UserError as error:
        raise UserError(
            f"The config beside the file is of {described.family}'s {described.name}, which is not built here: {error} "
            f"To set the config aside, state the network: --as {ARCH}LIBRARY:NAME."
        ) from None


def _weighted(match: Match) -> tuple[Architecture, Weights]:
    return match.card.architecture, match.weights


def _said_of(described: Architecture, overrides: Sequence[str]) -> Architecture:
    """The network with what a person says of it: another output may have other tensors."""
    pairs = (parse_override(each) for each in overrides if "=" in each)
    said = {path[0]: value for path, value in pairs if len(path) == 1 and path[0] in described.arguments}
    arguments = {**described.arguments, **said}
    return backbones.complete(Architecture(family=described.family, arguments=arguments)) if said else described


def _unless_own(overrides: Sequence[str], described: Architecture) -> list[str]:
    """Without what only our own families could be told."""
    known = {*Preprocess.model_fields, *described.arguments, "format"}
    return [each for each in overrides if each.partition("=")[0].split(".")[0] in known]


def unreachable(what: str, where: str, error: Exception) -> UserError:
    """The error when the network does not answer."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return UserError(
        f"{what} could not be downloaded ({reason}). Check the network and try again, or download it by hand on a "
        f"machine that has one, from {where}, and give the file's path here in place of the name."
    )
