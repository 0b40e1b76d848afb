"""The network of `swin`: a timm SwinTransformer. Importing timm takes longer than torch, so only `build` does."""

from functools import partial

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.backbones._patches import require_whole
from transferbench.backbones.swin import Arguments


class Swin(SwinTransformer, Backbone):
    """A timm SwinTransformer whose features are the mean of its last map after the last norm."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(
            img_size=arguments.image_size,
            patch_size=arguments.patch_size,
            num_classes=0,
            embed_dim=arguments.dim,
            depths=arguments.depths,
            num_heads=arguments.heads,
            window_size=arguments.window,
            mlp_ratio=arguments.mlp_ratio,
            qkv_bias=arguments.qkv_bias,
            drop_path_rate=0.0,
            strict_img_size=False,
            norm_layer=partial(nn.LayerNorm, eps=arguments.norm_eps),  # pyright: ignore[reportArgumentType]
            weight_init="skip" if torch.get_default_device().type == "meta" else "",
        )
        self.width, self.patch_side = int(self.num_features), arguments.patch_size

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Each stage's map, `layer1` to `layer4`, `b c h w`; the last one is normed."""
        maps = self._maps(images, True)
        return {f"layer{number}": each.permute(0, 3, 1, 2) for number, each in enumerate(maps, 1)}

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Patches of the last stages, each `b n d` with its own n and d; the norm is for those of the last stage."""
        return [each.flatten(1, 2) for each in self._maps(images, normed)[-layers:]]

    def _maps(self, images: Tensor, normed: bool) -> list[Tensor]:
        """Each stage's map, `b h w c`, the last one through the norm or before it."""
        require_whole(images, self.patch_side)
        x, maps = self.patch_embed(images), list[Tensor]()
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return [*maps[:-1], self.norm(x)] if normed else maps

    def forward(self, images: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mean of the last map, `b d`."""
        require_whole(images, self.patch_side)
        return self.forward_features(images).mean((1, 2))
