"""The network of `vit`: a timm VisionTransformer. Importing timm takes longer than torch, so only `build` does."""

from functools import partial
from typing import cast

import torch
from timm.layers.mlp import Mlp, SwiGLUPacked
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.backbones._patches import require_whole
from transferbench.backbones._vit_parts import ConvStem, Resampling, resampled
from transferbench.backbones.vit import Arguments


class ViT(VisionTransformer, Backbone):
    """A timm VisionTransformer whose features are the class token or a mean of tokens, normed before or after."""

    def __init__(self, arguments: Arguments) -> None:
        swiglu = arguments.mlp == "swiglu"
        super().__init__(
            img_size=arguments.image_size,
            patch_size=arguments.patch_size,
            num_classes=0,
            global_pool="token" if arguments.class_token else "avg",
            embed_dim=arguments.dim,
            depth=arguments.depth,
            num_heads=arguments.heads,
            mlp_ratio=arguments.mlp_ratio,
            qkv_bias=arguments.qkv_bias,
            init_values=1.0 if arguments.layer_scale else None,
            class_token=arguments.class_token,
            reg_tokens=arguments.registers,
            no_embed_class=not arguments.position_for_prefix,
            norm_layer=partial(nn.LayerNorm, eps=arguments.norm_eps),
            mlp_layer=cast(type[nn.Module], SwiGLUPacked if swiglu else Mlp),
            act_layer=nn.SiLU if swiglu else nn.GELU,
            embed_layer=ConvStem if arguments.conv_stem else PatchEmbed,
            dynamic_img_size=True,
            fc_norm=arguments.norm_pooled,
            weight_init="skip" if torch.get_default_device().type == "meta" else "",
        )
        self.pooling = arguments.pooling if arguments.class_token or arguments.pooling != "token" else "mean"
        self.resampling: Resampling = arguments.resampling
        self.width = arguments.dim

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Tokens, `b n c`, of patches, `b h w c`, with positions resampled as the source of the weights does."""
        grid, new = self.patch_embed.grid_size, (x.shape[1], x.shape[2])
        if self.resampling == "antialias" or grid == new:
            return super()._pos_embed(x)
        prefix = 0 if self.no_embed_class else self.num_prefix_tokens
        positions = cast(Tensor, self.pos_embed)
        patches = resampled(positions[:, prefix:], grid, new, self.resampling)
        zeros = positions.new_zeros(1, self.num_prefix_tokens - prefix, positions.shape[2])
        tokens = [token.expand(len(x), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        return torch.cat([*tokens, x.flatten(1, 2)], 1) + torch.cat([positions[:, :prefix], zeros, patches], 1)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The last block's patches as one map, `last`, `b c h w`."""
        require_whole(images, self.patch_embed.patch_size[0])
        patches = self.forward_features(images)[:, self.num_prefix_tokens :]
        rows = images.shape[-2] // self.patch_embed.patch_size[0]
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, -1))}

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Tokens of the last blocks, each `b n d`; a norm after the pooling has no part in them."""
        x = self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(images))))
        found: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number >= len(self.blocks) - layers:
                found.append(self.norm(x) if normed else x)
        return found

    def forward(self, images: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Class token or mean token, `b d`."""
        require_whole(images, self.patch_embed.patch_size[0])
        tokens = self.forward_features(images)
        if self.pooling == "token":
            pooled = tokens[:, 0]
        else:
            pooled = tokens[:, self.num_prefix_tokens if self.pooling == "mean" else 0 :].mean(1)
        return self.fc_norm(pooled)
