"""How transformers prepares images: `preprocessor_config.json` as `NAME=VALUE` of our preprocessing."""

import json
import math
from collections.abc import Mapping
from typing import Any

from transferbench.data.transforms import IMAGENET_MEAN, IMAGENET_STD

RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers."""
SHORTER = (
    *("CLIP", "ChineseCLIP", "ConvNext", "BitImage", "Levit", "MobileNet", "MobileViT", "PoolFormer", "Dinov2"),
    *("Aimv2", "Pvt"),
)
"""Classes whose `size`, where it is one number, is that of the shorter side; that of the others is of both."""
SQUASHED_FROM = 384
"""ConvNeXt's class resizes to a square from this size on, and crops the center of smaller images."""
WHOLE = 1 / 255


def read(config: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`NAME=VALUE` as `--as` takes them, and what of it is done otherwise here, in words.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: when it is not as transformers writes it.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    values = {**_geometry(config, kind), **_colors(config, kind)}
    left: list[str] = []
    resample = config.get("resample")
    if resample in RESAMPLE:
        values["interpolation"] = RESAMPLE[resample]
    elif resample is not None:
        left.append(f"its processor resizes with PIL's filter {resample}, here it is bilinear")
    if config.get("do_pad"):
        left.append("its processor pads images, here none is")
    given = tuple(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items())
    return given, tuple(left)


def _geometry(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    size, crop = config.get("size"), _side(config.get("crop_size"))
    is_cropped = bool(config.get("do_center_crop")) and crop is not None
    if not config.get("do_resize", True):
        return {"size": None, "crop": crop} if is_cropped else {}
    if isinstance(size, Mapping) and "shortest_edge" in size:
        short, is_square = int(size["shortest_edge"]), False
    elif isinstance(size, Mapping) and "height" in size:
        short, is_square = _side(size), True
    elif isinstance(size, int):
        short, is_square = size, not kind.startswith(SHORTER)
    else:
        return {"crop": crop} if is_cropped else {}
    if short is None:
        return {}
    if kind.startswith("ConvNext"):
        share = float(config.get("crop_pct") or 224 / 256)
        if short >= SQUASHED_FROM:
            return {"size": short, "crop": short, "resize": "square"}
        return {"size": math.floor(short / share), "crop": short, "resize": "shorter_side"}
    return {
        "size": short,
        "crop": crop if is_cropped else short,
        "resize": "square" if is_square else "shorter_side",
    }


def _side(size: Any) -> int | None:
    """One number for both sides; None where there is none, or two."""
    if isinstance(size, Mapping):
        sides = {size.get("height"), size.get("width")}
        size = sides.pop() if len(sides) == 1 else None
    return size if isinstance(size, int) and not isinstance(size, bool) else None


def _colors(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Mean and deviation of values from 0 to 1, whatever the processor scales to first."""
    found: dict[str, Any] = {"channel_order": "bgr"} if config.get("do_flip_channel_order") else {}
    mean, std = [0.0] * 3, [1.0] * 3
    if config.get("do_normalize", "image_mean" in config):
        mean = _three(config.get("image_mean", IMAGENET_MEAN))
        std = _three(config.get("image_std", IMAGENET_STD))
        if kind.startswith("EfficientNet") and config.get("include_top"):
            std = [each * each for each in std]
    factor = float(config.get("rescale_factor", WHOLE)) if config.get("do_rescale", True) else 1.0
    whole = 255 * factor
    shift = 1.0 if config.get("rescale_offset") and config.get("do_rescale", True) else 0.0
    if abs(whole - 1) < 1e-6:
        whole = 1.0
    return found | {
        "mean": [(each + shift) / whole for each in mean],
        "std": [each / whole for each in std],
    }


def _three(values: Any) -> list[float]:
    three = [float(each) for each in values]
    if len(three) != 3:
        raise ValueError(f"{len(three)} channels, not 3")
    return three
