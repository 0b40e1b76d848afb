"""What a checkpoint file is, found without building or hashing anything but the weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import LoadReport, Origin, load
from transferbench.checkpoints import first_conv_stats as filters
from transferbench.checkpoints.downloads import opened
from transferbench.checkpoints.first_conv_stats import FirstConvStats
from transferbench.checkpoints.networks import distinct, labels
from transferbench.checkpoints.safe_globals import Inert
from transferbench.data.transforms import Preprocess
from transferbench.settings import Settings


class Inspection(Settings):
    """All one wants to know before judging a file."""

    path: str
    size_mb: float
    container: str
    format: str
    encoder: str
    encoders: dict[str, str]
    """Every network in the file by label, with its place."""
    architecture: Architecture
    architecture_name: str
    width: int
    parameters: int
    preprocess: Preprocess
    digest: str
    origin: Origin
    report: LoadReport
    filters: FirstConvStats | None
    others: dict[str, str]
    """What else lies at the top of the file."""
    inert: tuple[str, ...]
    """Names in the pickle that were not executed."""
    file_sha256: str | None = None
    """Only where it was asked for: it takes as long as reading the whole file."""


def inspect(
    file: str | Path, encoder: str | None = None, overrides: Sequence[str] = (), hashes: bool = False
) -> Inspection:
    """Recognize a file, or what a library's name stands for, and prove that its network fits, as `load` would.

    Raises:
        UserError: as `load` does.
    """
    located, contents, match = opened(file, encoder, overrides)
    path, there = located.path, distinct(match.networks)
    return Inspection(
        path=str(path),
        size_mb=path.stat().st_size / 1e6,
        container=contents.container,
        format=match.report.format,
        encoder=match.report.encoder,
        encoders=dict(zip(labels(there), [network.address for network in there], strict=True)),
        architecture=match.card.architecture,
        architecture_name=match.card.architecture.name,
        width=backbones.build(match.card.architecture, device="meta").width,
        parameters=match.report.parameters,
        preprocess=match.card.preprocess,
        digest=match.digest,
        origin=match.card.origin,
        report=match.report,
        filters=filters.first(match.weights, match.card.architecture),
        others=_others(contents.tree),
        inert=contents.inert,
        file_sha256=load.sha256(path) if hashes else None,
    )


def _others(tree: Any) -> dict[str, str]:
    """The top of the file, one phrase an entry; the tensors at the top are the network's or in the report."""
    top = tree if isinstance(tree, dict) else {}
    return {str(key): _phrase(value) for key, value in top.items() if not isinstance(value, Tensor)}


def _phrase(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return f"{len(value)} entries"
    if isinstance(value, Inert):
        return value.origin or "an object"
    return repr(value)[:60] if isinstance(value, str | int | float | None) else type(value).__name__
