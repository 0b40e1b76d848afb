"""The momentum network, which follows the one that is trained."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """The teacher's parameters, never its buffers, become momentum * teacher + (1 - momentum) * student."""
    followed: list[Tensor] = list(student.parameters())
    torch._foreach_lerp_(list[Tensor](teacher.parameters()), followed, 1 - momentum)  # pyright: ignore[reportPrivateImportUsage]
