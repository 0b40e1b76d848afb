"""A frozen backbone made ready to compute many features: a copy that gives the same ones sooner.

What is done to the copy: batch norms are folded into the convolutions before them (ours alone, whose structure is
known; not in `bfloat16`, which would round other weights), weights lie channels last, a few images go through it at a
time so that maps stay in the cache, and nothing is kept for gradients. Features in float32 are the plain network's
within rounding (1e-5 of the largest, more where a network is ill-conditioned).
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from transferbench.backbones import FAMILIES, LIVE, OWN_CODE, Architecture, Backbone
from transferbench.backbones._residual_blocks import BasicBlock, Bottleneck
from transferbench.backbones.resnet import ResNet
from transferbench.backbones.whitened import Whitened
from transferbench.features.spec import POOLED, LayerSpec, Precision, forward

Compute = Callable[[nn.Module, Tensor, LayerSpec], Tensor]
AT_A_TIME = 16
"""Images that go through the network at once on a CPU, whatever its cores: part of what features are."""
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
"""Layers of a ResNet that are the same with its norms folded; outputs of its convolutions are not."""
BLOCKS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))


class Prepared:
    """What a reading takes from a frozen backbone. The backbone itself is not touched, and may change afterwards.

    A network whose code is not known (`is_known`) is used as it is, with all images of a batch at once.
    """

    def __init__(self, backbone: nn.Module, wanted: LayerSpec, compute: Compute = forward) -> None:
        """`compute` makes features of the backbone, images and the reading: one vector an image, if not said."""
        self.backbone, self.wanted, self.compute = backbone, wanted, compute
        self.is_copy = isinstance(backbone, Backbone) and is_known(backbone) and self._copied(backbone)

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float32[Tensor, "b *d"]:
        """Features of the images, in float32.

        Raises:
            UserError: when there is no such layer, or its output cannot be pooled so.
        """
        if not self.is_copy:
            return self.compute(self.backbone, images, self.wanted)
        with torch.inference_mode():
            parts = images.split(AT_A_TIME) if images.device.type == "cpu" else [images]
            parts = [part.contiguous(memory_format=self.layout) for part in parts]
            features = torch.cat([self.compute(self.backbone, part, self.wanted) for part in parts])
        return features.clone()  # no inference tensor: a head is trained on it

    def _copied(self, backbone: Backbone) -> bool:
        """Make the copy; false where it cannot be made."""
        try:
            made = copy.deepcopy(backbone).eval()
        except Exception:  # what a library's network holds beside tensors is not always to be copied
            return False
        made.requires_grad_(False)
        with torch.no_grad():
            is_whole = self.wanted.layer in (POOLED, *STAGES) or self.wanted.last
            network = made.network if isinstance(made, Whitened) else made
            if isinstance(network, ResNet) and is_whole and self.wanted.precision != "bfloat16":
                fold(network)
            if self.wanted.precision == "bfloat16_folded":
                _convert(made)
            self.layout = memory_format(made, self.wanted.precision)
            made.to(memory_format=self.layout)
        self.backbone = made
        return True


def is_known(network: nn.Module) -> bool:
    """Whether its code is this package's or a library's.

    A person's own may hold what a copy would not share (a hook that writes where `forward` reads), may flatten maps by
    `view`, which fails channels last, and may look at the other images of a batch.
    """
    if isinstance(network, Whitened):
        return is_known(network.network)
    architecture = getattr(network, "architecture", None)
    family = architecture.family.replace("-", "_") if isinstance(architecture, Architecture) else LIVE
    return isinstance(network, Backbone) and family != OWN_CODE and family in FAMILIES.names()


def memory_format(network: nn.Module, precision: Precision) -> torch.memory_format:
    """How maps are best laid out: channels last, where most weights are convolutions'.

    Not in float32 on a GPU, and not for a network whose code is not known.
    """
    if not is_known(network):
        return torch.contiguous_format
    if precision == "float32" and any(each.device.type != "cpu" for each in network.parameters()):
        return torch.contiguous_format
    of_convolutions = sum(each.weight.numel() for each in network.modules() if isinstance(each, nn.Conv2d))
    every = sum(each.numel() for each in network.parameters())
    return torch.channels_last if 2 * of_convolutions > every else torch.contiguous_format


def fold(network: ResNet) -> None:
    """Fold every batch norm of a ResNet in eval mode into the convolution before it, in float64."""
    for convolution, norm, leave in _pairs(network):
        scale = norm.weight.double() * (_statistic(norm.running_var).double() + norm.eps).rsqrt()
        shift = norm.bias.double() - _statistic(norm.running_mean).double() * scale
        if convolution.bias is not None:
            shift = shift + convolution.bias.double() * scale
        weight = convolution.weight.double() * scale[:, None, None, None]
        convolution.weight = nn.Parameter(weight.to(convolution.weight.dtype), requires_grad=False)
        convolution.bias = nn.Parameter(shift.to(convolution.weight.dtype), requires_grad=False)
        leave()


def _pairs(network: ResNet) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, Any]]:
    """Each convolution with the norm behind it, and what takes the norm out."""
    for part in (network, *(module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck))):
        for first, second in BLOCKS:
            convolution, norm = getattr(part, first, None), getattr(part, second, None)
            if isinstance(convolution, nn.Sequential):  # the deep stem
                yield from _in_a_row(convolution)
                convolution = convolution[-1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield convolution, norm, lambda part=part, second=second: setattr(part, second, nn.Identity())
        if isinstance(shortcut := getattr(part, "downsample", None), nn.Sequential):
            yield from _in_a_row(shortcut)


def _in_a_row(row: nn.Sequential) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, Any]]:
    for number in range(1, len(row)):
        convolution, norm = row[number - 1], row[number]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            yield convolution, norm, lambda number=number: row.__setitem__(number, nn.Identity())


def _statistic(value: Tensor | None) -> Tensor:
    assert value is not None, "a batch norm of ours keeps statistics"
    return value


def _convert(network: nn.Module) -> None:
    """Weights of the layers that autocast computes in bfloat16, converted once and not with each batch."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(torch.bfloat16)
