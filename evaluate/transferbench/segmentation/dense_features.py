"""Maps of features of a frozen backbone: patch tokens without class and register tokens, or the maps of stages."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from transferbench.errors import UserError
from transferbench.features.extraction import evaluating
from transferbench.features.prepared import Prepared
from transferbench.features.spec import LAST, POOLED, FeatureSpec, LayerSpec, Precision, layers
from transferbench.segmentation.dilation import dilated
from transferbench.settings import Settings

__all__ = ["DenseFeatures", "DenseReading", "patch_side", "reading_of"]


class DenseReading(Settings):
    """Which maps are taken from a frozen backbone: base of the settings of every task that reads features of places."""

    precision: Precision = Field("float32", description="precision of the backbone")
    layer: str = Field(
        LAST,
        description="last: the patches of the last block, or the map of the last stage; last:4: of the last four, "
        "coarser maps enlarged to the finest, channels one after another; else a stage (layer3) or a module (blocks.5)",
    )
    norm: bool = Field(True, description="layer=last, last:N: through the network's last norm; false: before it")
    dilated: bool = Field(
        False, description="ResNets: the last two stages keep their size, by dilated convolutions instead of strides"
    )

    @field_validator("layer")
    @classmethod
    def _has_places(cls, layer: str) -> str:
        if layer == POOLED:
            raise ValueError(f"expected a layer with a feature for each place, such as {LAST} or {LAST}:4")
        return FeatureSpec(layer=layer).layer

    @model_validator(mode="after")
    def _is_known(self) -> "DenseReading":
        FeatureSpec(layer=self.layer, norm=self.norm)
        return self

    def taken(self) -> str:
        """What is not usual of it, for labels: `layer=last:4, dilated`; empty where all is."""
        parts = [f"layer={self.layer}"] if self.layer != LAST else []
        return ", ".join(parts + ["norm=false"] * (not self.norm) + ["dilated"] * self.dilated)


class DenseFeatures:
    """The maps that a reading takes from a frozen backbone, which is not touched and may change afterwards.

    Raises:
        UserError: for a backbone that cannot be dilated.
    """

    def __init__(self, backbone: nn.Module, reading: DenseReading) -> None:
        network = dilated(backbone) if reading.dilated else backbone
        self.side = patch_side(backbone)
        self.prepared = Prepared(network, reading_of(reading), self._maps)

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float32[Tensor, "b d r c"]:
        """Features of each place. Images that are no whole patches are first padded with zeros all around.

        The zeros are of the normalized image. One more of them lies right and below where their number is odd.

        Raises:
            UserError: when there is no such layer, or it has no places.
        """
        with evaluating(self.prepared.backbone):
            return self.prepared(padded(images, self.side))

    def _maps(
        self, backbone: nn.Module, images: Float[Tensor, "b 3 h w"], wanted: LayerSpec
    ) -> Float32[Tensor, "b d r c"]:
        prefix = int(getattr(backbone, "num_prefix_tokens", 0))
        maps = [_map(each, prefix, images, wanted.layer) for each in layers(backbone, images, wanted)]
        finest = max(each.shape[2:] for each in maps)
        return torch.cat([_enlarged(each, tuple(finest)) for each in maps], 1)


def reading_of(reading: DenseReading) -> FeatureSpec:
    """The same layer in the words of what is extracted and counted."""
    return FeatureSpec(precision=reading.precision, layer=reading.layer, norm=reading.norm)


def patch_side(backbone: Any) -> int:
    """The pixels that images have to be whole multiples of: the side of a patch; 1 where there are none."""
    network = getattr(backbone, "network", backbone)
    found = (
        getattr(backbone, "patch_side", None),
        getattr(getattr(network, "patch_embed", None), "patch_size", None),
        getattr(getattr(network, "config", None), "patch_size", None),
    )
    sides = [each[0] if isinstance(each, tuple | list) else each for each in found]
    return next((each for each in sides if isinstance(each, int) and each > 0), 1)


def padded(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 H W"]:
    """Zeros all around up to whole multiples of `side`."""
    more = [-size % side for size in images.shape[-2:]]
    if not any(more):
        return images
    (below, right), (top, left) = more, (more[0] // 2, more[1] // 2)
    return F.pad(images, (left, right - left, top, below - top))


def _map(layer: Tensor, prefix: int, images: Tensor, name: str) -> Float32[Tensor, "b d r c"]:
    """A layer as maps: of tokens `b n d` those behind the first `prefix`, in rows as the image is high to its width."""
    if layer.ndim == 4:
        return layer.float()
    height, width = images.shape[-2:]
    count = layer.shape[1] - prefix if layer.ndim == 3 else 0
    rows = round((count * height / width) ** 0.5) if count > 0 else 0
    if not rows or count % rows:
        raise UserError(
            f"layer={name} gives {list(layer.shape)} for images of {height}x{width} pixels, {prefix} of them class and "
            f"register tokens: its places are not known. Expected maps, or tokens of patches; try layer={LAST}."
        )
    return layer[:, prefix:].float().transpose(1, 2).unflatten(2, (rows, -1))


def _enlarged(maps: Float32[Tensor, "b d r c"], size: tuple[int, ...]) -> Float32[Tensor, "b d R C"]:
    if tuple(maps.shape[2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
