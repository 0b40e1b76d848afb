"""Which features of a backbone are taken: its own output, or a layer inside it with the pooling that makes a vector."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from pydantic import Field
from torch import Tensor, nn

from transferbench.backbones import Staged, Tokenized
from transferbench.errors import UserError, unknown
from transferbench.settings import Settings

POOLED = "pooled"
LISTED = 2
"""Depth of the module names suggested for a misspelled layer."""

Precision = Literal["float32", "bfloat16"]
"""What a backbone computes in; features are kept in float32 either way."""


class FeatureSpec(Settings):
    """What is taken from a frozen backbone: the base of the settings of every task that reads its features."""

    precision: Precision = Field(default="float32", description="precision of the backbone")
    layer: str = Field(
        default=POOLED,
        description="pooled: the backbone's output; else a stage (stem, layer3) or a module (blocks.5) of it",
    )
    pooling: Literal["mean", "max", "token"] = Field(
        default="mean", description="over the places of another layer; token: the class token alone"
    )

    @property
    def identity(self) -> dict[str, str]:
        """What the features depend on; the pooling only where there is something to pool."""
        names = ("precision", "layer") if self.layer == POOLED else ("precision", "layer", "pooling")
        return {name: getattr(self, name) for name in names}


def feature_spec(asked: Precision | FeatureSpec) -> FeatureSpec:
    """The reading itself, or the backbone's output at a precision."""
    return asked if isinstance(asked, FeatureSpec) else FeatureSpec(precision=asked)


def forward(
    backbone: nn.Module, images: Float[Tensor, "b 3 h w"], asked: Precision | FeatureSpec = "float32"
) -> Float32[Tensor, "b d"]:
    """What the reading takes from the backbone, in float32.

    Raises:
        UserError: when there is no such layer, or its output cannot be pooled so.
    """
    wanted = feature_spec(asked)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=wanted.precision == "bfloat16"):
        if wanted.layer == POOLED:
            return backbone(images).float()
        tensor = _inside(backbone, images, wanted.layer)
    return _vectors(tensor.float(), wanted, backbone.num_prefix_tokens if isinstance(backbone, Tokenized) else 0)


def _inside(backbone: nn.Module, images: Tensor, layer: str) -> Tensor:
    """The output of a stage, or else of a module, by its name."""
    named = set(backbone.stages(images[:1])) if isinstance(backbone, Staged) else set()
    if isinstance(backbone, Staged) and layer in named:
        return backbone.stages(images)[layer]
    modules = dict(backbone.named_modules())
    if not layer or layer not in modules:
        raise unknown("layer", layer, named | {name for name in modules if name and name.count(".") < LISTED})
    outputs: list[Any] = []
    hook = modules[layer].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        backbone(images)
    finally:
        hook.remove()
    if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
        raise UserError(
            f"Layer '{layer}' gives {len(outputs)} output(s). Expected one tensor; name a module around it."
        )
    return outputs[0]


def _vectors(tensor: Tensor, wanted: FeatureSpec, prefix: int) -> Float32[Tensor, "b d"]:
    """One vector an image, from maps `b c h w`, tokens `b n d` (the first `prefix` are no patches) or vectors."""
    has_tokens = tensor.ndim == 3 and prefix > 0
    if tensor.ndim not in (2, 3, 4) or (wanted.pooling == "token" and not has_tokens):
        raise UserError(
            f"Layer '{wanted.layer}' gives {list(tensor.shape)} with {prefix} class and register token(s): "
            f"pooling={wanted.pooling} is not possible. Expected maps or vectors with mean or max, or tokens."
        )
    if tensor.ndim == 2:
        return tensor
    if wanted.pooling == "token":
        return tensor[:, 0]
    places = tensor.flatten(2) if tensor.ndim == 4 else tensor[:, prefix:].transpose(1, 2)
    return places.mean(2) if wanted.pooling == "mean" else places.amax(2)
