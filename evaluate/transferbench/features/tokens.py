"""All tokens of a frozen backbone's layer, or the places of its maps, as one long row an image."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from pydantic import Field, model_validator
from torch import Tensor, nn

from transferbench.errors import UserError
from transferbench.features.spec import LAST, POOLED, Kept, LayerSpec, layers, prefix_of


class TokenSpec(LayerSpec):
    """What is taken of a frozen backbone by a task that pools its tokens itself."""

    layer: str = Field(
        default=LAST,
        description="last: tokens of the last block, or places of the last stage; last:4: of the last four; else a "
        "stage (layer3) or a module (blocks.5)",
    )
    several: Literal["side by side", "mean"] = Field(
        "side by side", description="layer=last:N: how the tokens of several layers become one"
    )
    norm: bool = Field(default=True, description="layer=last: through the last norm; false: before it")
    tokens: Literal["patches", "all"] = Field(
        "patches", description="all: class and register tokens too, where there are any"
    )
    kept: Kept = Field("float16", description="what tokens are rounded to, whether they are kept on disk or made anew")

    @model_validator(mode="after")
    def _has_tokens(self) -> "TokenSpec":
        if self.layer == POOLED:
            raise ValueError(f"layer={POOLED} is one vector and no tokens: say {LAST}, or leave it out")
        if self.several == "mean" and self.last < 2:
            raise ValueError(f"several=mean is for layer={LAST}:N, found layer={self.layer}")
        return self

    @property
    def kept_in(self) -> Kept:
        """What the settings say."""
        return self.kept

    @property
    def identity(self) -> dict[str, Any]:
        """What the tokens depend on."""
        names = ("precision", "layer", "several", "norm", "tokens", "kept")
        return {"all tokens": {name: getattr(self, name) for name in names}}

    def vectors(self, layers: list[Tensor], prefix: int, has_class: bool) -> Float32[Tensor, "b d"]:
        """Token after token."""
        return self.joined(layers, prefix).flatten(1)

    def joined(self, layers: list[Tensor], prefix: int) -> Float32[Tensor, "b n d"]:
        """The tokens of all layers as one.

        Raises:
            UserError: for a layer of vectors, or maps of several sizes.
        """
        found = [each.flatten(2).transpose(1, 2) if each.ndim == 4 else each for each in layers]
        if any(each.ndim != 3 for each in found):
            raise UserError(
                f"Layer '{self.layer}' gives {list(layers[0].shape)}. Expected tokens, images x tokens x channels, or "
                f"maps, images x channels x height x width: name a block or a stage, or leave layer={LAST}."
            )
        if self.tokens == "patches":
            found = [each[:, prefix:] if map_.ndim == 3 else each for each, map_ in zip(found, layers, strict=True)]
        joinable = {(each.shape[1], each.shape[2] if self.several == "mean" else 0) for each in found}
        if len(joinable) > 1:
            sizes = ", ".join(f"{each.shape[1]} x {each.shape[2]}" for each in found)
            raise UserError(
                f"layer={self.layer}: the layers have {sizes} tokens x channels, which do not become one. Expected one "
                f"size: name a single layer, such as layer={LAST}."
            )
        return torch.stack(found).mean(0) if self.several == "mean" else torch.cat(found, 2)


def shape(backbone: nn.Module, images: Float[Tensor, "b 3 h w"], wanted: TokenSpec) -> tuple[int, int]:
    """How many tokens an image has, and how many channels a token.

    Raises:
        UserError: when there is no such layer, or it has no tokens.
    """
    found = wanted.joined(layers(backbone, images, wanted), prefix_of(backbone)[0])
    return found.shape[1], found.shape[2]
