"""A ResNet whose last two stages keep their size: each stride is left out, and what comes after it is dilated instead.

At every place that the plain network looks at it gives what that network gives (Chen et al., arXiv 1412.7062).
"""

import copy

from torch import nn

from transferbench.backbones._residual_blocks import BasicBlock, Bottleneck
from transferbench.backbones.resnet import Arguments, ResNet
from transferbench.errors import UserError

STAGES = ("layer3", "layer4")


def why_undilated(family: str, arguments: object) -> str | None:
    """Why a network of these arguments is not dilated; None where it is."""
    if family != "resnet":
        return f"dilated=true is for ResNets, and this is a {family}. Leave it out."
    full = Arguments.model_validate(arguments)
    odd = [name for name in ("same_padding", "avg_down") if getattr(full, name)]
    return f"dilated=true: a ResNet with {odd[0]} is not dilated. Leave it out." if odd else None


def dilated(backbone: nn.Module) -> ResNet:
    """A dilated copy.

    Raises:
        UserError: for another network than a ResNet of ours, or one that pads or shrinks in a way that is not dilated.
    """
    architecture = getattr(backbone, "architecture", None)
    reason = why_undilated(architecture.family, architecture.arguments) if architecture else None
    if reason or not isinstance(backbone, ResNet):
        raise UserError(reason or f"dilated=true is for ResNets, and this is a {type(backbone).__name__}.")
    network, step = copy.deepcopy(backbone), 1
    for name in STAGES:
        for block in getattr(network, name):
            step = _dilate(block, step)
    return network


def _dilate(block: BasicBlock | Bottleneck, step: int) -> int:
    """Dilate a block behind strides of `step` in all; that product with its own stride."""
    if block.downsample is not None:
        for part in block.downsample.modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)
    for name in ("conv1", "conv2", "conv3"):
        convolution = getattr(block, name, None)
        if convolution is None:
            continue
        if convolution.kernel_size != (1, 1):
            convolution.dilation = convolution.padding = (step, step)
        step *= convolution.stride[0]
        convolution.stride = (1, 1)
    return step
