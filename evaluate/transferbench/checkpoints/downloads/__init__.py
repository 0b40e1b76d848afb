"""Checkpoints by the name a library knows them by: one library a file, each offering `find(name) -> Located`.

Files are fetched with the library's own downloader and read with our own reader: nothing of them is executed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from transferbench import backbones, plugins
from transferbench.checkpoints import reading
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.recognition import Match, recognize
from transferbench.errors import UserError, require_of_hub

LIBRARIES = plugins.Registry("transferbench.checkpoints.downloads", "library")
CLOSE = 1e-4
"""Of the largest feature: how near our network has to come to the library's own."""


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
    network: Callable[[], nn.Module] | None = None
    """Builds the library's own network from images to features, without its weights."""


def locate(file: str | Path) -> Located:
    """A local path as it is; `LIBRARY:NAME` downloaded, unless a file of that name is here.

    Raises:
        UserError: when the library knows no such name or the download fails, saying what to do.
    """
    path = Path(file).expanduser()
    library, colon, name = str(file).partition(":")
    if not colon or library not in LIBRARIES.names() or path.exists():
        return Located(path)
    require_of_hub(str(file), library)
    return LIBRARIES.load(library).find(name)


def opened(
    file: str | Path, encoder: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Located, Contents, Match]:
    """A checkpoint located, read and recognized, with what its library says of it; `overrides` have the last word.

    Raises:
        UserError: when it cannot be had or read, does not fit exactly, or computes other features than the library's
            own network.
    """
    located = locate(file)
    contents = reading.read(located.path)
    match = recognize(contents, encoder, [*located.overrides, *overrides])
    changed = {override.partition("=")[0] for override in overrides} & match.card.architecture.arguments.keys()
    proof = [] if located.network is None or changed else [_proved(str(file), match, located.network())]
    report = match.report.model_copy(update={"assumed": [*match.report.assumed, *located.told, *proof]})
    origin = match.card.origin.model_copy(update={"source": located.source})
    card = match.card.model_copy(update={"origin": origin}) if located.source else match.card
    return located, contents, replace(match, card=card, report=report)


def _proved(file: str, match: Match, theirs: nn.Module) -> str:
    """The words for it when our network gives the features of the library's own on the same weights and image."""
    label = match.report.encoder
    chosen = next(each for each in match.networks if f"{each.label} ({each.address})" == label)
    weights = {name: tensor.float() for name, tensor in chosen.weights().items()}
    absent, unknown = theirs.load_state_dict(weights, strict=False, assign=True)
    lacking = [name for name in absent if not name.endswith(backbones.COUNTER)]
    if lacking or unknown:
        names = ", ".join([*lacking, *unknown][:8])
        raise UserError(f"{file} does not fill the library's own network: {names}. Refused.")
    ours = backbones.build(match.card.architecture)
    ours.load_state_dict(match.weights, strict=True)
    size = match.card.architecture.arguments.get("image_size", match.card.preprocess.crop)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, computed = theirs.eval()(image), ours.eval()(image)
    difference = (
        float((computed - expected).abs().max() / expected.abs().max()) if computed.shape == expected.shape else 1.0
    )
    if not difference <= CLOSE:
        raise UserError(
            f"{file}: read as {match.card.architecture.name} it gives other features than the library's own network "
            f"(off by {difference:.1e} of the largest): no network here computes the same. What its tensors do not "
            "tell can be stated with --as."
        )
    return f"features compared with the library's own network on the same weights: within {CLOSE:g} of the largest"


def unreachable(what: str, where: str, error: Exception) -> UserError:
    """The error when the network does not answer."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return UserError(
        f"{what} could not be downloaded ({reason}). Check the network and try again, or download it by hand on a "
        f"machine that has one, from {where}, and give the file's path here in place of the name."
    )
