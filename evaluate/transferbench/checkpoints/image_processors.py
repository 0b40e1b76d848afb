"""How transformers prepares images: `preprocessor_config.json` as `NAME=VALUE` of our preprocessing."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from transferbench.data.transforms import IMAGENET_MEAN, IMAGENET_STD, LARGEST_SIDE

RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers."""
SHORTER = (
    *("CLIP", "ChineseCLIP", "ConvNext", "Bit", "Levit", "MobileNetV1", "MobileNetV2", "MobileViT", "PoolFormer"),
    *("Aimv2", "Pvt"),
)
"""Classes whose `size`, where it is one number, is that of the shorter side; that of the others is of both."""
KNOWN = frozenset(
    {
        *("Beit", "Bit", "Blip", "CLIP", "ChineseCLIP", "Cohere2Vision", "ConvNext", "DINOv3ViT", "DPT", "DeiT"),
        *("DepthPro", "EfficientNet", "Flava", "Gemma3", "GotOcr2", "Levit", "Llava", "MobileNetV1", "MobileNetV2"),
        *("MobileViT", "OwlViT", "PoolFormer", "Pvt", "Sam2", "Sam3", "Segformer", "Siglip", "Tipsv2", "ViT", ""),
    }
)
"""Classes that were held against the library's own, and none, as older files have it."""
KIND = re.compile(r"(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?$")
UNDONE = (
    *("do_pad", "size_divisor", "keep_aspect_ratio", "do_thumbnail", "do_align_long_axis", "do_crop_margin"),
    *("do_image_splitting", "crop_to_patches", "do_pan_and_scan", "do_crop"),
)
"""What a processor may do beside, when it is set."""
SQUASHED_FROM = 384
"""ConvNeXt's class resizes to a square from this size on, and crops the center of smaller images."""
WHOLE = 1 / 255
DOWN = {"crop_start": "below"}
UNNORMALIZED = ("MobileViT",)
"""Classes that do not normalize unless the file says so."""


def read(config: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`NAME=VALUE` as `--as` takes them, and what of it is done otherwise here, in words.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: when it is not as transformers writes it.
    """
    kind = KIND.sub("", str(config.get("image_processor_type") or config.get("feature_extractor_type") or ""))
    geometry = _geometry(config, kind)
    values = {**geometry, **_colors(config, kind)}
    left: list[str] = []
    resample = config.get("resample")
    if resample in RESAMPLE:
        values["interpolation"] = RESAMPLE[resample]
    elif resample is not None:
        left.append(f"its processor resizes with PIL's filter {resample}, here it is bilinear")
    left += [
        f"its processor has {name}={config[name]}, of which nothing is done here" for name in UNDONE if config.get(name)
    ]
    if config.get("size") and config.get("do_resize", True) and not geometry:
        left.append(f"its processor's size {json.dumps(config['size'])} is none of a square image and was left aside")
    elif geometry.get("resize") == "shorter_side" and not config.get("do_center_crop") and kind != "ConvNext":
        left.append("its processor keeps the whole of an image, here the center is cut out")
    if kind not in KNOWN:
        left.append(f"what {kind} does beside was not held against transformers: compare with its own processor")
    given = tuple(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items())
    return given, tuple(left)


def _geometry(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    crop = _side(config.get("crop_size")) if config.get("do_center_crop") else None
    if not config.get("do_resize", True) or not (config.get("size") or config.get("max_num_patches")):
        resized = {} if config.get("do_resize", True) else {"size": None}
        return {**resized, "crop": crop, **DOWN} if crop is not None else {}
    short, is_square = _resized(config, kind)
    if short is None:
        return {}
    if kind == "ConvNext":
        if short >= SQUASHED_FROM:
            return {"size": short, "crop": short, "resize": "square"}
        share = float(config.get("crop_pct") or 224 / 256)
        return {"size": int(short / share), "crop": short, "resize": "shorter_side", **DOWN}
    cut = short if crop is None else crop
    if kind == "Levit" and not is_square:
        short = int(256 / 224 * short)
    if kind == "PoolFormer" and config.get("crop_pct"):
        short, is_square = int(short / float(config["crop_pct"])), False
    down = DOWN if cut != short or not is_square else {}
    return {"size": short, "crop": cut, "resize": "square" if is_square else "shorter_side", **down}


def _resized(config: Mapping[str, Any], kind: str) -> tuple[int | None, bool]:
    """To how many pixels a side is resized, where that is one number; and whether both are."""
    size = config.get("size")
    if isinstance(size, Mapping):
        if any(isinstance(side, int) and side > LARGEST_SIDE for side in size.values()):
            return None, False  # numbers of pixels, not sides
        return (int(size["shortest_edge"]), False) if "shortest_edge" in size else (_side(size), True)
    if isinstance(size, int):
        return size, kind not in SHORTER
    count, patch = config.get("max_num_patches"), config.get("patch_size")
    if isinstance(count, int) and isinstance(patch, int):  # SigLIP 2: what it makes of square images
        return math.isqrt(count) * patch, True
    return None, False


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
    if config.get("do_normalize", "image_mean" in config and kind not in UNNORMALIZED):
        mean = _three(config.get("image_mean", IMAGENET_MEAN))
        std = _three(config.get("image_std", IMAGENET_STD))
        if kind == "EfficientNet" and config.get("include_top"):
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
    three = [float(each) for each in (values if isinstance(values, list | tuple) else [values] * 3)]
    if len(three) != 3:
        raise ValueError(f"{len(three)} channels, not 3")
    return three
