"""The image towers of open_clip, built by open_clip itself, in the names below `visual.`."""

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._library import (
    ELSEWHERE,
    LibraryBackbone,
    in_time,
    require_bearable,
    require_plain,
    require_vectors,
    width,
)
from transferbench.errors import UserError, nearest
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

EXTRA = "pip install 'transferbench[open_clip]'"
CUSTOM = "custom"
"""The name of a tower that its configuration describes, and none of the library's names has."""
PARTS = ("embed_dim", "vision_cfg", "quick_gelu")
"""Of a configuration, what is of the image tower."""
TEXT = {"context_length": 4, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
"""Of the text tower that is built beside and thrown away."""
BELOW = ((r"trunk\.(?:head|fc|classifier)\..+", "projector"),)
"""Where a timm network's classifier is the projection to the embedding."""


class Arguments(Settings):
    """What fixes the computation: open_clip's name, or the configuration of the tower, and which output is taken."""

    name: str = Field(description="a name of open_clip.list_models(), or custom: as `config` says")
    config: dict[str, Any] = Field({}, description="embed_dim, vision_cfg and quick_gelu, where they differ")
    output: Literal["pooler", "embedding"] = Field(
        "pooler", description="features before the projection, which linear probes take; or after it, as zero-shot does"
    )

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        every = names()
        if name != CUSTOM and name not in every:
            raise ValueError(f"open_clip {version()} has no network '{name}'.{nearest(name, every)}")
        return name

    @field_validator("config")
    @classmethod
    def _is_whole(cls, config: dict[str, Any], info: Any) -> dict[str, Any]:
        _require_own(config)
        name = info.data.get("name")
        return _whole(str(name), config) if name else config


class TowerBackbone(LibraryBackbone):
    """An image tower of open_clip."""

    def forward(self, images: Tensor) -> Tensor:
        """Features, `b d`, of images, `b 3 h w`; CoCa's towers give tokens beside them."""
        found = self.network(images)
        pooled = found[0] if isinstance(found, tuple) else found
        return require_vectors(pooled, len(images), type(self.network).__name__, "Hand")

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """None: only vectors come out of it."""
        return {}


def network(arguments: Arguments) -> nn.Module:
    """open_clip's own module of the image tower.

    The CLIP paper (Radford et al. 2021, appendix A.3) probes ViTs before the projection to the embedding, and ResNets
    after their attention pool, which is the embedding.

    Raises:
        ValueError: when open_clip does not build it.
    """
    config = arguments.config
    tower = {**config["vision_cfg"], **({"timm_model_pretrained": False} if _is_timms(config) else {})}
    try:
        with in_time():
            made = _package().CLIP(config["embed_dim"], tower, dict(TEXT), quick_gelu=bool(config.get("quick_gelu")))
    except Exception as error:  # whatever a configuration leads to
        raise ValueError(f"open_clip does not build {arguments.name}: {type(error).__name__}: {error}") from None
    visual: Any = made.visual
    if arguments.output == "pooler":
        _take_off_projection(visual, tower)
    return visual


def _take_off_projection(visual: Any, tower: Mapping[str, Any]) -> None:
    """A ViT's is a parameter; a timm network's lies in the head behind it, or is its classifier."""
    if isinstance(getattr(visual, "proj", None), nn.Parameter):
        visual.proj = None
    if not tower.get("timm_model_name"):
        return
    for name in ("proj", "mlp"):
        if hasattr(visual.head, name):
            setattr(visual.head, name, nn.Identity())
    if not len(visual.head):
        visual.trunk.reset_classifier(0)


def build(arguments: Arguments) -> Backbone:
    """The tower, with open_clip's initialization.

    Raises:
        ValueError: when open_clip does not build it.
    """
    backbone = TowerBackbone(network(arguments))
    backbone.side = _side(arguments)
    backbone.width = _width(arguments.model_dump_json())
    return backbone


@cache
def _width(arguments: str) -> int:
    full = Arguments.model_validate_json(arguments)
    with torch.device("meta"):
        return width(TowerBackbone(network(full)), _side(full), _stated(full))


def _stated(arguments: Arguments) -> int | None:
    vision = arguments.config["vision_cfg"]
    size = vision.get("width") if arguments.output == "pooler" else arguments.config["embed_dim"]
    return size if isinstance(size, int) else None


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: names and shapes lead to open_clip's towers by an index of all of them."""
    return []


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a tower."""
    full = Arguments.model_validate(dict(arguments))
    what = {"pooler": "before the projection", "embedding": "the embedding, after the projection"}[full.output]
    act = "QuickGELU" if full.config.get("quick_gelu") else "GELU"
    inner = "" if _is_timms(full.config) else f" with {act}"
    return [f"computed by open_clip's own {full.name}{inner}; features are {what}"]


def describe(arguments: Mapping[str, Any]) -> str:
    """open_clip's name, and the output where it is not the usual one."""
    output = arguments.get("output", "pooler")
    return " ".join([str(arguments["name"]), *([f"output={output}"] if output != "pooler" else [])])


def from_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Arguments from an `open_clip_config.json`; None of another library's.

    Raises:
        LookupError: when it is open_clip's and not whole.
    """
    model = config.get("model_cfg")
    if not isinstance(model, Mapping) or "vision_cfg" not in model:
        return None
    if not is_installed():
        return {}
    parts = _parts(model)
    _require_own(parts)
    same = (name for name in names() if _known(name) == parts)
    return {"name": next(same, CUSTOM), "config": parts}


def needed_for(config: Mapping[str, Any]) -> str | None:
    """What to install for a tower of this description; None where nothing is missing."""
    if not isinstance(config.get("model_cfg"), Mapping) or is_installed():
        return None
    return f"Its open_clip_config.json is of open_clip, which reads it with {EXTRA}"


def own_arguments(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """None: no family of ours computes such towers."""
    return ()


def is_installed() -> bool:
    """Whether open_clip can be imported."""
    return importlib.util.find_spec("open_clip") is not None


def version() -> str:
    """open_clip's version."""
    return str(_package().__version__)


def names() -> list[str]:
    """Every architecture."""
    return list(_package().list_models())


def _package() -> ModuleType:
    try:
        return importlib.import_module("open_clip")
    except ImportError:
        raise UserError(f"A tower of open_clip needs open_clip, which is not installed: {EXTRA}") from None


@cache
def _written(name: str) -> str:
    return json.dumps(_parts(cast(Any, _package()).get_model_config(name)))


def _known(name: str) -> dict[str, Any]:
    return json.loads(_written(name))


def _parts(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"quick_gelu": False, **{key: config[key] for key in PARTS if key in config}}


def _whole(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the name, with what is given laid over it."""
    base: dict[str, Any] = dict(_known(name)) if name != CUSTOM else {"quick_gelu": False}
    given = dict(config)
    if unknown := sorted(given.keys() - set(PARTS)):
        raise ValueError(f"'{unknown[0]}' is not of an image tower.{nearest(unknown[0], PARTS)}")
    tower: dict[str, Any] = dict(base.get("vision_cfg") or {})
    whole = {**base, **given, "vision_cfg": {**tower, **dict(given.get("vision_cfg", {}))}}
    if missing := [key for key in PARTS if not whole.get(key) and key != "quick_gelu"]:
        raise ValueError(f"{missing[0]} is missing")
    return whole


def _require_own(config: Mapping[str, Any]) -> None:
    """Refuse, with a ValueError, what is no plain value, sizes that no network has, and what lies elsewhere.

    timm looks for a name with a colon in the hub, or in a folder of this machine.
    """
    require_plain(config, ELSEWHERE)
    require_bearable(config)
    tower = config.get("vision_cfg")
    import timm  # by who asks: it takes longer than importing torch

    name = tower.get("timm_model_name") if isinstance(tower, Mapping) else None
    if name and not (isinstance(name, str) and timm.is_model(name) and ":" not in name):
        raise ValueError(f"timm {timm.__version__} has no architecture '{name}' for its tower")


def _is_timms(config: Mapping[str, Any]) -> bool:
    return bool(config["vision_cfg"].get("timm_model_name"))


def _side(arguments: Arguments) -> int:
    size = arguments.config["vision_cfg"].get("image_size", 224)
    return int(size[0] if isinstance(size, list | tuple) else size)
