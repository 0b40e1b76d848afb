"""Views in one tensor, their samples centered; the formula is `decorssl.whiten.observed` of each, stacked."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def centered_samples(views: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, "v n d"]:
    """Every sample less its mean over the channels; float32 or better."""
    return applied(_CenteredSamples, *(z.to(torch.promote_types(z.dtype, torch.float32)) for z in views))


class _CenteredSamples(torch.autograd.Function):
    """Written to where they are stacked; the gradient of centering is the centered gradient."""

    @staticmethod
    def forward(ctx: Any, *views: Tensor) -> Tensor:
        result = views[0].new_empty(len(views), *views[0].shape)
        for z, out in zip(views, result, strict=True):
            torch.sub(z, z.mean(1, keepdim=True), out=out)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(g - g.mean(1, keepdim=True) for g in gradients[0])
