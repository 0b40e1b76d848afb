"""From a file, an architecture or a live module to a Candidate."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from transferbench import backbones, state
from transferbench.backbones import LIVE, Architecture, Backbone
from transferbench.checkpoints import CONTROL, Candidate, Card, LoadReport, Origin, containers, digest
from transferbench.checkpoints.downloads import opened
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

    Raises:
        UserError: when it does not turn images into one vector each.
    """
    backbone = module if isinstance(module, Backbone) else Live(module, preprocess.crop)
    card = Card(architecture=backbone.architecture, preprocess=preprocess)
    return Candidate(name, backbone, card, digest(module.state_dict()), _report(LIVE, module))


class Live(Backbone):
    """Somebody's module, made to return `b d`."""

    def __init__(self, module: nn.Module, crop: int) -> None:
        super().__init__()
        self.module = module
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        self.architecture = Architecture(family=LIVE, arguments={"class": kind})
        first = next(module.parameters(), torch.zeros(()))
        flags = {part: part.training for part in module.modules()}
        self.eval()
        with torch.no_grad():
            self.width = self(torch.zeros(1, 3, crop, crop, device=first.device, dtype=first.dtype)).shape[1]
        for part, flag in flags.items():
            part.training = flag

    def forward(self, images: Tensor) -> Tensor:
        """Features, `b d`."""
        features = self.module(images)
        if isinstance(features, Tensor) and features.ndim == 4:
            return features.mean((2, 3))
        if isinstance(features, Tensor) and features.ndim == 2:
            return features
        found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"The module should return features, [batch, width] or [batch, c, h, w]; it returned {found}.")


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
