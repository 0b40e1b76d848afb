"""What a checkpoint file is, found without building or hashing anything but the weights."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import LoadReport, Origin, load
from transferbench.checkpoints import first_conv_stats as filters
from transferbench.checkpoints.downloads import opened
from transferbench.checkpoints.first_conv_stats import FirstConvStats
from transferbench.checkpoints.naming import Weights
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
    warnings: tuple[str, ...] = ()
    """What makes one doubt that these are the weights of a trained network."""
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
        width=backbones.width(match.card.architecture),
        parameters=match.report.parameters,
        preprocess=match.card.preprocess,
        digest=match.digest,
        origin=match.card.origin,
        report=match.report,
        filters=(first := filters.first(match.weights, match.card.architecture)),
        warnings=tuple(_warnings(match.weights, first)),
        others=_others(contents.tree),
        inert=contents.inert,
        file_sha256=load.sha256(path) if hashes else None,
    )


UNTRAINED = 2
"""Standard deviations of random filters' correlation, below which filters look random (`FirstConvStats`)."""


def _warnings(weights: Weights, first: FirstConvStats | None) -> Iterator[str]:
    matrices = [tensor for tensor in weights.values() if tensor.ndim > 1]
    if matrices and not any(tensor.any() for tensor in matrices):
        yield "all weights are zero"
    elif first and first.correlation < UNTRAINED * first.random_deviation:
        yield "it looks untrained: neighboring weights of its first convolution agree no more than random ones"
    constant = [name for name, tensor in weights.items() if tensor.ndim > 1 and tensor.any() and _is_constant(tensor)]
    if constant:
        yield f"{len(constant)} tensor(s) hold one value throughout: {', '.join(constant[:4])}"


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())


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
