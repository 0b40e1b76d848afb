"""Networks by a short name, as `--arch` takes them."""

import re
from collections.abc import Mapping
from typing import Any

from transferbench.errors import UserError

VITS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12), "large": (1024, 16)}
"""Channels and heads by size; of DeiT (tiny, small) and ViT, with 12 blocks, the large one 24."""
PATCHES = 8
"""Patches a side at least, in images of less than 224 pixels, whose patches are of 16."""


def named(name: str, backbone: Mapping[str, Any], side: int) -> dict[str, Any]:
    """The backbone of a recipe whose images have `side` pixels, with another network in its place.

    Args:
        name: `resnet18` keeps the recipe's stem and width; `vit-small`; `timm:NAME`, `torchvision:NAME`.

    Raises:
        UserError: for any other name.
    """
    library, colon, rest = name.partition(":")
    if colon and library in ("timm", "torchvision", "transformers") and rest:
        return {"family": library, "arguments": {"name": rest}}
    plain = name.lower().replace("_", "-")
    if match := re.fullmatch(r"resnet-?(\d+)", plain):
        own = dict(backbone.get("arguments", {})) if backbone.get("family") == "resnet" else _small(side)
        return {"family": "resnet", "arguments": {**own, "depth": int(match[1])}}
    if (match := re.fullmatch(r"vit-(\w+)", plain)) and match[1] in VITS:
        dim, heads = VITS[match[1]]
        depth = 24 if match[1] == "large" else 12
        patch = 16 if side >= 224 else max(2, 1 << (side // PATCHES).bit_length() - 1)
        sizes = {"dim": dim, "heads": heads, "depth": depth, "patch_size": patch, "image_size": side}
        return {"family": "vit", "arguments": sizes}
    raise UserError(
        f"--arch {name}: no such network. Expected resnet18 (34, 50, ...), vit-SIZE ({', '.join(VITS)}) or "
        "a library's: timm:NAME. Any other by --set backbone.family=... and backbone.arguments...."
    )


def _small(side: int) -> dict[str, Any]:
    """The stem for images of this size."""
    return {} if side > 112 else {"stem": "cifar" if side <= 48 else "small_maxpool"}
