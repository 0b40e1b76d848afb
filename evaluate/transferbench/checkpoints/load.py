"""From a file, an architecture or a live module to a Candidate."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from transferbench import backbones, state
from transferbench.backbones import LIVE, Architecture, Backbone
from transferbench.checkpoints import CONTROL, Candidate, Card, LoadReport, Origin, containers, digest
from transferbench.checkpoints.downloads import opened
from transferbench.checkpoints.live import Live, is_of_a_family
from transferbench.data.transforms import Preprocess

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
    backbone = backbones.build(match.card.architecture)
    backbone.load_state_dict(match.weights, strict=True)
    backbone.eval()
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


def random_control(architecture: Architecture, preprocess: Preprocess, seed: int) -> Candidate:
    """The same network with initial weights drawn from `seed`: what an evaluation gives without any learning."""
    backbone = backbones.build(architecture, seed).eval()
    origin = Origin(method=CONTROL, seed=seed)
    card = Card(architecture=backbone.architecture, preprocess=preprocess, origin=origin)
    return Candidate(CONTROL, backbone, card, digest(backbone.state_dict()), _report(CONTROL, backbone))


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
