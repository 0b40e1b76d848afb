"""Batch normalization whose weights and statistics stay as they are."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):
    """Torchvision's, rounded as Detectron2's: where no gradient passes, it is one operation instead of two."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Each channel less its running mean over its running deviation, times the weight, plus the bias."""
        if x.requires_grad:
            return super().forward(x)
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
