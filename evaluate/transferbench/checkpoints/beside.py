"""What the files beside weights say of them: `config.json` and the like, in the forms of timm and other libraries."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import image_processors
from transferbench.errors import UserError

WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)
"""Of a folder, the best first."""
DESCRIPTIONS = ("config.json", "open_clip_config.json")
"""Many folders hold a network's files of two libraries, those of open_clip under names that begin so."""
LIBRARIES = ("timm", "transformers", "open_clip")
"""Families that read a description (`from_config`), in the order they are asked."""
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
IN_ALL = "size, crop, interpolation, mean and std as in"
USUAL = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Where `preprocess_cfg` states none: OpenAI's."""
Images = tuple[tuple[str, ...], tuple[str, ...]]
"""`NAME=VALUE`, and where they stand, in words."""
BROKEN = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(RecursionError, RuntimeError, MemoryError),
)
"""What a library raises over values that no network has."""
LONGEST = 1 << 20
"""Bytes of a description."""


@dataclass(frozen=True)
class Description:
    """What lies beside weights: the network, its images as `NAME=VALUE`, and where that stands, in words."""

    architecture: Architecture | None = None
    images: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """`NAME=VALUE` for a network of our families in its place."""
    needs: str = ""
    """What to install for the library whose network it is."""


def weights(path: Path) -> Path:
    """The file itself, or of a folder the one with its weights.

    Raises:
        UserError: for a folder without one, with what there is.
    """
    try:
        if not path.is_dir():
            return path
        names = sorted(each.name for each in path.iterdir())
    except OSError:
        return path
    there = next((name for name in WEIGHTS if name in names), None)
    if there is None:
        raise UserError(
            f"{path} is a folder; expected a checkpoint file. Name the file in it: none of {', '.join(WEIGHTS)} is "
            f"there, but {', '.join(names[:12]) or 'nothing'}."
        )
    return path / there


def described(path: Path) -> Description:
    """What the descriptions in the folder of a file say; nothing where there are none, or of no library known here.

    Raises:
        UserError: for a description that is not as its library writes it.
    """
    needs = ""
    names = reversed(DESCRIPTIONS) if path.name.startswith("open_clip") else DESCRIPTIONS
    for name in names:
        place = path.with_name(name)
        config = read(place)
        if not config and _is_there(place):
            return Description(told=(f"{place.name} beside the file cannot be read as JSON and was left aside",))
        if not config:
            continue
        for library in LIBRARIES:
            if library not in backbones.FAMILIES.names():
                continue
            family = backbones.FAMILIES.load(library)
            try:
                arguments = family.from_config(config, place.parent)
                if arguments is None:
                    continue
                images, told = IMAGES[library](config, place.parent)
                own = family.own_arguments(arguments) if arguments else ()
            except BROKEN as error:
                raise UserError(f"{place} is not as {library} writes it ({type(error).__name__}: {error}).") from None
            architecture = backbones.complete(Architecture(family=library, arguments=arguments)) if arguments else None
            if architecture is None and (needs := getattr(family, "needed_for", _nothing)(config) or ""):
                break
            if architecture is None:
                kind = config.get("architecture") or config.get("model_type")
                told = (
                    *told,
                    f"{place.name} is of '{kind}', which {library} does not have here: it was not looked for",
                )
            return Description(architecture, images, told, own)
    return Description(needs=needs)


def _is_there(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:
        return False


def _nothing(config: Mapping[str, Any]) -> str:
    return ""


def read(place: Path) -> Mapping[str, Any]:
    """A JSON mapping; empty where there is none."""
    try:
        content = json.loads(place.read_text()) if place.is_file() and place.stat().st_size <= LONGEST else {}
    except (ValueError, RecursionError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def of_timm(images: Mapping[str, Any]) -> tuple[str, ...]:
    """timm's `pretrained_cfg` as `NAME=VALUE`: it resizes the shorter side to crop / crop_pct, rounded down."""
    crop = images["input_size"][-1]
    values = {
        "size": math.floor(crop / images.get("crop_pct", 0.875)),
        "crop": crop,
        "mean": list(images["mean"]),
        "std": list(images["std"]),
    }
    kept = images["interpolation"] in {"bilinear", "bicubic"}
    kind = [f"interpolation={images['interpolation']}"] if kept else []
    both = ["resize=square"] if images.get("crop_mode") == "squash" else []
    return (*(f"{name}={json.dumps(value)}" for name, value in values.items()), *kind, *both)


def left_of_timm(images: Mapping[str, Any]) -> tuple[str, ...]:
    """What timm's `pretrained_cfg` says of images that is done otherwise here, in words."""
    sides, filled, mode = images["input_size"][-2:], images["interpolation"], images.get("crop_mode")
    left = (
        [] if filled in {"bilinear", "bicubic"} else [f"timm resizes with the filter '{filled}', here it is bilinear"]
    )
    if sides[0] != sides[1]:
        left.append(f"timm cuts images of {sides[0]} x {sides[1]} pixels, here {sides[1]} x {sides[1]}")
    if mode not in {None, "center", "squash"}:
        left.append(f"timm's crop_mode '{mode}' keeps the whole of an image, here the center is cut out")
    return tuple(left)


def _by_timm(config: Mapping[str, Any], folder: Path) -> Images:
    images = config["pretrained_cfg"]
    return of_timm(images), (f"{IN_ALL} config.json", *left_of_timm(images))


def _by_transformers(config: Mapping[str, Any], folder: Path) -> Images:
    """Of the processor's file; without one, the size that the network is made for."""
    for name in PROCESSORS:
        processor = read(folder / name)
        part = processor.get("image_processor", processor)
        if isinstance(part, dict) and part.keys() & {"image_mean", "do_resize", "size", "do_normalize"}:
            given, left = image_processors.read(part)
            return given, (f"{IN_ALL} {name}", *left)
    side = (config.get("vision_config") or config).get("image_size")
    if isinstance(side, int) and side != USUAL:
        return (f"size={round(side * 256 / USUAL)}", f"crop={side}"), ("crop as image_size in config.json",)
    return (), ()


def _by_open_clip(config: Mapping[str, Any], folder: Path) -> Images:
    images = config.get("preprocess_cfg") or {}
    sides = images.get("size") or config["model_cfg"]["vision_cfg"].get("image_size", USUAL)
    side = sides[0] if isinstance(sides, list) else int(sides)
    values = {
        "size": side,
        "crop": side,
        "mean": list(images.get("mean", CLIP_MEAN)),
        "std": list(images.get("std", CLIP_STD)),
    }
    mode, filled = images.get("resize_mode", "shortest"), images.get("interpolation", "bicubic")
    kind = [f"interpolation={filled}"] if filled in {"bilinear", "bicubic"} else []
    both = ["resize=square"] if mode == "squash" else []
    left = [f"open_clip resizes by '{mode}', here the shorter side is resized"] if mode == "longest" else []
    if not kind:
        left.append(f"open_clip resizes with the filter '{filled}', here it is bilinear")
    given = (*(f"{name}={json.dumps(value)}" for name, value in values.items()), *kind, *both)
    return given, (f"{IN_ALL} open_clip_config.json", *left)


IMAGES: Mapping[str, Callable[[Mapping[str, Any], Path], Images]] = {
    "timm": _by_timm,
    "transformers": _by_transformers,
    "open_clip": _by_open_clip,
}
"""How the images are read from each library's description, and where that stands, in words."""
