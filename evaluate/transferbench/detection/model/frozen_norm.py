"""Batch normalization whose weights and statistics stay as they are."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FrozenNorm(nn.Module):
    """Rounded as Detectron2's: where no gradient passes, it is one operation instead of two."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Each channel less its running mean over its running deviation, times the weight, plus the bias."""
        if x.requires_grad:
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            shift = self.bias - self.running_mean * scale
            return x * scale[:, None, None] + shift[:, None, None]
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def with_frozen_norms(module: nn.Module) -> nn.Module:
    """`module` with every batch normalization in it frozen."""
    if isinstance(module, nn.BatchNorm2d):
        frozen = FrozenNorm(module.num_features, module.eps)
        frozen.load_state_dict({name: each for name, each in module.state_dict().items() if "tracked" not in name})
        return frozen
    for name, child in module.named_children():
        setattr(module, name, with_frozen_norms(child))
    return module
