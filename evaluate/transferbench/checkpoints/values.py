"""Whether tensors can be a network's values, and what they are completed with."""

from pathlib import Path

import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture, whitened
from transferbench.checkpoints import unused_tensors
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.networks import Network
from transferbench.checkpoints.tensor_accounting import TensorAccount
from transferbench.errors import UserError

SHOWN = 8
INDICES = ("relative_position_index", "position_ids")
"""How the names of whole numbers end that libraries keep beside the weights: tables of places."""
REPEATED = 1 << 26
"""Values of a network that may share their places in the file."""


def require_bearable(path: Path, weights: Weights) -> None:
    """Refuse a network that would take more memory than the file explains: its tensors repeat what the file holds."""
    values, held = sum(map(Tensor.numel, weights.values())), _held(weights)
    if values > max(held, REPEATED):
        raise UserError(
            f"{path}: the tensors of its network have {values:,} values and lie in {held:,} bytes: they repeat each "
            f"other. Expected a byte a value, or at most {REPEATED:,} values."
        )


def _held(weights: Weights) -> int:
    """Bytes of memory that some tensors lie in, those that several share counted once."""
    storages = [tensor.untyped_storage() for tensor in weights.values()]
    total = end = 0
    for first, size in sorted((storage.data_ptr(), storage.nbytes()) for storage in storages):
        total += max(0, first + size - max(first, end))
        end = max(end, first + size)
    return total


def completed(path: Path, weights: Weights, architecture: Architecture) -> tuple[Weights, list[str]]:
    """The tensors in float32 with absent step counters as zero, and what there is to say of that.

    Raises:
        UserError: when the values cannot be a trained network's, naming the tensors.
    """
    problems = [f"{name} {problem}" for name, tensor in weights.items() if (problem := _problem(name, tensor))]
    if problems and any(not tensor.is_floating_point() for tensor in weights.values()):
        whole = backbones.whole_numbers(architecture)
        problems = [each for each in problems if each.partition(" ")[0] not in whole]
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(f"{path} does not hold usable weights: {', '.join(problems[:SHOWN])}{more}.")
    notes: list[str] = []
    means = [tensor for name, tensor in weights.items() if name.endswith("running_mean")]
    if means and not any(tensor.count_nonzero() for tensor in means):
        notes.append("every batch norm's mean is 0: the statistics may never have been gathered")
    absent = backbones.expected_shapes(architecture).keys() - weights.keys()
    if absent:
        notes.append("step counters (num_batches_tracked), which no forward pass reads, were missing and are set to 0")
    upcast = {str(tensor.dtype).removeprefix("torch.") for tensor in weights.values() if _is_half(tensor)}
    notes += [f"weights in {each} are used in float32" for each in sorted(upcast)]
    return {**weights, **{name: torch.zeros((), dtype=torch.int64) for name in absent}}, notes


def _is_half(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype.itemsize < 4


def _problem(name: str, tensor: Tensor) -> str:
    if name.endswith((backbones.COUNTER, *INDICES)):
        return ""
    if not tensor.is_floating_point():
        return f"is {tensor.dtype}, not floating point"
    if not torch.isfinite(tensor).all():
        return "has NaN or infinite values"
    return "has negative values" if name.endswith("running_var") and (tensor < 0).any() else ""


def is_buffer(name: str) -> bool:
    """Whether a tensor is statistics of a batch norm, or of whitening, and not a parameter."""
    return name.endswith((backbones.COUNTER, "running_mean", "running_var", whitened.MEAN, whitened.MATRIX))


PRETRAINING = {unused_tensors.CLASSIFIER, *(drop.reason for drop in unused_tensors.EXACT)}
NO_CLASSES = {64, 128, 256, 512, 1024, 2048, 4096, 8192}
"""Widths of projectors and of OBoW's visual words: such a `fc` is no classifier (docs/checkpoints.md#heads)."""


def classifier(network: Network, accounted: TensorAccount) -> int:
    """The classes of a classifier that lies beside the network and nothing else of a training; 0 without one."""
    if not accounted.dropped.keys() <= PRETRAINING:
        return 0
    names = set(accounted.dropped.get(unused_tensors.CLASSIFIER, ()))
    tensors = [t for n, t in network.state.tensors.items() if network.state.written[n] in names and t.ndim == 2]
    classes = tensors[0].shape[0] if tensors else 0
    return 0 if classes in NO_CLASSES else classes
