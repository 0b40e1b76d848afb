"""The losses that proposals and detections share."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def smooth_l1(predicted: Float[Tensor, "*n"], wanted: Float[Tensor, "*n"], beta: float) -> Float[Tensor, ""]:
    """The summed Huber loss over `beta`; at 0, Detectron2's default, the absolute difference."""
    if beta < 1e-5:
        return (predicted - wanted).abs().sum()
    return F.smooth_l1_loss(predicted, wanted, beta=beta, reduction="sum")
