"""From a file, an architecture or a live module to a Candidate."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from transferbench import backbones, state
from transferbench.backbones import LIVE, OWN_CODE, Architecture, Backbone
from transferbench.checkpoints import CONTROL, Candidate, Card, LoadReport, Origin, containers, digest, reading
from transferbench.checkpoints.downloads import Located, matched, opened
from transferbench.checkpoints.live import Live, is_of_a_family
from transferbench.checkpoints.recognition import Match
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError

EXTENSIONS = (".tar", ".pth", ".pt", ".ckpt", ".pkl", ".torch", ".bin", ".safetensors")


def load(
    file: str | Path, name: str | None = None, encoder: str | None = None, overrides: Sequence[str] = ()
) -> Candidate:
    """The network in a checkpoint, with every backbone tensor used or the file refused.

    Args:
        file: a checkpoint of any known container and layout, or a library's name for one (`timm:NAME`).
        name: what tables call it; by default what its card or its file is called.
        encoder: which network of the file, by its label; by default the one its source evaluates.
        overrides: `NAME=VALUE`, arguments of the architecture or of its images that the file does not tell.

    Raises:
        UserError: when the file cannot be read or does not fit exactly, naming the tensors.
    """
    located, _, match = opened(file, encoder, overrides)
    return _candidate(located, match, name, _filled(match))


def examine(
    file: str | Path, name: str | None = None, encoder: str | None = None, overrides: Sequence[str] = ()
) -> Candidate:
    """What `load` gives, refused for the same reasons, but not built yet: its file is read again when its turn comes.

    Raises:
        UserError: as `load` does; from `built` also when the file has become another since.
    """
    located, _, match = opened(file, encoder, overrides)
    empty = backbones.build(match.card.architecture, device="meta").eval()
    again = partial(_read_again, located=located, encoder=encoder, overrides=overrides)
    return replace(_candidate(located, match, name, empty), build=again)


def _candidate(located: Located, match: Match, name: str | None, backbone: nn.Module) -> Candidate:
    origin = match.card.origin
    return Candidate(
        name=name or origin.recipe or _own_method(match.report, origin) or located.name or stem(located.path),
        backbone=backbone,
        card=match.card,
        digest=match.digest,
        report=match.report,
        file_sha256=sha256(located.path),
        path=located.path,
    )


def _filled(match: Match) -> Backbone:
    """The network with the weights of a file."""
    backbone = backbones.build(match.card.architecture)
    backbone.load_state_dict(match.weights, strict=True)
    return backbone.eval()


def _read_again(candidate: Candidate, located: Located, encoder: str | None, overrides: Sequence[str]) -> nn.Module:
    match, _ = matched(reading.read(located.path), located, encoder, overrides)
    card, now = candidate.card, match.card
    if match.digest != candidate.digest:
        changed = f"its network had the digest {candidate.digest[:12]}, and has {match.digest[:12]} now"
    elif (now.architecture, now.preprocess) != (card.architecture, card.preprocess):
        changed = "the same weights are read as another network, or with other preprocessing"
    else:
        return _filled(match)
    raise UserError(
        f"{candidate.path} has changed since it was checked: {changed}. Run again once nothing writes to it."
    )


def random_control(architecture: Architecture, preprocess: Preprocess, seed: int) -> Candidate:
    """The same network with initial weights drawn from `seed`: what an evaluation gives without any learning.

    Raises:
        UserError: when a person's own code gives the same weights from another seed too.
    """
    backbone = backbones.build(architecture, seed).eval()
    origin = Origin(method=CONTROL, seed=seed)
    card = Card(architecture=backbone.architecture, preprocess=preprocess, origin=origin)
    drawn = digest(backbone.state_dict())
    if architecture.family == OWN_CODE and drawn == digest(backbones.build(architecture, seed + 1).state_dict()):
        raise UserError(
            f"{backbone.architecture.name} has the same weights from every seed, so it gives no random network to "
            "compare with. Expected initial weights from torch's generator; --no-control judges without such a row."
        )
    return Candidate(CONTROL, backbone, card, drawn, _report(CONTROL, backbone))


def unbuilt(control: Candidate, seed: int) -> Candidate:
    """A random network that `seed` draws, without its weights: they are drawn again when its turn comes."""
    return replace(control, backbone=control.backbone.to("meta"), build=partial(_drawn_again, seed=seed))


def _drawn_again(control: Candidate, seed: int) -> nn.Module:
    backbone = backbones.build(control.card.architecture, seed).eval()
    if digest(backbone.state_dict()) != control.digest:
        raise UserError(
            f"{control.card.architecture.family} drew two networks from seed {seed}. Expected that the seed decides: "
            "its `build` has to draw from torch's generator alone."
        )
    return backbone


def wrap(module: nn.Module, name: str, preprocess: Preprocess) -> Candidate:
    """A live module as a candidate. A map `b c h w` that a module of yours returns is averaged over space.

    A network of ours that computes what its family does is who its weights are, as from a file. Any other module is
    also known by its class, its width and what it computes on fixed images; where that differs from pass to pass, each
    call makes a candidate of its own.

    Raises:
        UserError: when it does not turn images into one vector each.
    """
    if isinstance(module, Backbone) and is_of_a_family(module, preprocess.crop):
        card = Card(architecture=module.architecture, preprocess=preprocess)
        return Candidate(name, module, card, digest(module.state_dict()), _report(LIVE, module))
    backbone = Live(module, preprocess.crop)
    card = Card(architecture=backbone.architecture, preprocess=preprocess)
    report = _report(LIVE, module).model_copy(update={"assumed": backbone.behavior.notes})
    if not backbone.behavior.is_separate:
        warnings.warn(f"{name}: {backbone.behavior.notes[-1]}.", stacklevel=2)
    if backbone.behavior.is_repeatable:
        return Candidate(name, backbone, card, backbone.digest(), report)
    alone = hashlib.sha256(f"{backbone.digest()} {os.urandom(16).hex()}".encode()).hexdigest()
    return Candidate(name, backbone, card, alone, report, is_repeatable=False)


def stem(path: Path) -> str:
    """The file's name without the endings checkpoints have."""
    name = path.name
    while name.lower().endswith(EXTENSIONS) and not name.startswith(Path(name).suffix):
        name = name[: -len(Path(name).suffix)]
    return name


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces; of an index of shards, of it and every shard's."""
    found = state.file_sha256(path)
    parts = [shard for shard in containers.shards(path) if shard != path]
    return hashlib.sha256("".join([found, *map(sha256, parts)]).encode()).hexdigest() if parts else found


def _own_method(report: LoadReport, origin: Origin) -> str | None:
    return origin.method if report.format == "transferbench" else None


def _report(source: str, module: nn.Module) -> LoadReport:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return LoadReport(format=source, matched=len(module.state_dict()), parameters=parameters)
