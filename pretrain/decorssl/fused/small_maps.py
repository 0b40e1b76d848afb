"""Convolutions of small maps in bfloat16 on a CPU, whose weights' gradient is one product of matrices.

oneDNN 3 computes this gradient of a 3x3 convolution of 512 maps of 4x4 at a quarter of the rate of its other ones
(torch 2.15.0; benchmarks/small_maps.py). Outputs and the gradient of the images are oneDNN's, bit by bit.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

PLACES = 16
"""Places of an output map up to which the product is the faster one."""


class SmallMapConv2d(nn.Conv2d):
    """A 3x3 convolution, padded by 1, that gives small maps; it computes what `Conv2d` does."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o r s"]:
        """As `Conv2d`; the weights' gradient is by a product where maps are small and autocast is to bfloat16."""
        is_half = input.device.type == "cpu" and torch.get_autocast_dtype("cpu") == torch.bfloat16
        stride = self.stride[0]
        places = -(-input.shape[2] // stride) * -(-input.shape[3] // stride)
        if torch.compiler.is_compiling():
            return super().forward(input)
        if not (is_half and torch.is_autocast_enabled("cpu") and self.weight.requires_grad and places <= PLACES):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            made: Any = _Convolution.apply(input.bfloat16(), self.weight.bfloat16(), stride)
        return made


def prepare(network: nn.Module) -> None:
    """Let the convolutions of a network that may give small maps compute their gradients so; names and weights stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = SmallMapConv2d


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether it is a 3x3 convolution of all channels, without bias, padded by zeros."""
    is_square = layer.kernel_size == (3, 3) and layer.padding == (1, 1) and layer.dilation == (1, 1)
    is_whole = layer.groups == 1 and layer.bias is None and layer.padding_mode == "zeros"
    return is_square and is_whole and layer.stride in ((1, 1), (2, 2))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return torch.conv2d(images, weight, None, stride, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (gradient,) = gradients
        images, weight = ctx.saved_tensors
        wanted = (ctx.needs_input_grad[0], False, False)
        stride = [ctx.stride, ctx.stride]
        of_images, _, _ = torch.ops.aten.convolution_backward(
            gradient, images, weight, None, stride, [1, 1], [1, 1], False, [0, 0], 1, wanted
        )
        rows = gradient.permute(0, 2, 3, 1).reshape(-1, len(weight))
        of_weight = (rows.T @ neighborhoods(images, ctx.stride)).view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
        return of_images, of_weight, None


def neighborhoods(images: Float[Tensor, "b c h w"], stride: int) -> Float[Tensor, "n d"]:
    """The 3x3 places around each place of its output that a convolution looks at: rows of 9 c values, n of them."""
    padded = nn.functional.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    b, c, h, w = images.shape
    high, wide = -(-h // stride), -(-w // stride)
    of_image, of_row, of_column, of_channel = padded.stride()
    steps = (of_image, stride * of_row, stride * of_column, of_row, of_column, of_channel)
    return padded.as_strided((b, high, wide, 3, 3, c), steps).reshape(b * high * wide, 9 * c)
