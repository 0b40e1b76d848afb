"""timm's models: `timm:vit_small_patch16_224.dino`; without a tag the default one."""

import difflib
import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import timm
from timm.models import PretrainedCfg, VisionTransformer
from torch import nn

from transferbench.checkpoints.downloads import Located, _hub, _urls
from transferbench.errors import UserError
from transferbench.runtime import seeded

SHOWN = 5
CENTER = "center"


def find(name: str) -> Located:
    """The weights of a model and tag, as safetensors where the hub has them so.

    Raises:
        UserError: for a name timm does not have or has no weights of, or when the download fails.
    """
    settings = _settings(name)
    model = f"{settings.architecture}.{settings.tag}" if settings.tag else str(settings.architecture)
    if settings.hf_hub_id:
        repository, revision = _hub.parted(settings.hf_hub_id)
        best = settings.hf_hub_filename or _hub.chosen(repository, _hub.listed(repository, revision))
        (path,) = _hub.fetched(repository, revision, [best])
        source = _hub.source(repository, path)
    else:
        urls: Any = settings.url
        source = urls if isinstance(urls, str) else urls[0]
        path = _urls.fetched(source)
    built, images = network(model), settings.to_dict()
    told = f"size, crop, interpolation, mean and std as in timm's {model}"
    squashed = images.get("crop_mode", CENTER) != CENTER
    left = (f"timm itself crops by '{images['crop_mode']}' where here the center is cropped",) if squashed else ()
    return Located(path, model, source, (*overrides(images), *arguments(built)), (told, *left), partial(network, model))


def _settings(name: str) -> PretrainedCfg:
    """timm's own entry of a model.

    Raises:
        UserError: when there is none with weights, with the nearest names.
    """
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        config = None
    if config is None or not config.has_weights:
        names = timm.list_models(pretrained=True, include_tags=True)
        near = difflib.get_close_matches(name, names, n=SHOWN, cutoff=0.5)
        raise UserError(
            f"timm has no weights '{name}'. {'Nearest: ' + ', '.join(near) + '. ' if near else ''}"
            f"All {len(names)}: python -c 'import timm; print(timm.list_pretrained())'"
        )
    return config


def overrides(images: Mapping[str, Any]) -> tuple[str, ...]:
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
    return (*(f"{name}={json.dumps(value)}" for name, value in values.items()), *kind)


def arguments(built: nn.Module) -> tuple[str, ...]:
    """What a plain ViT's tensors do not tell of it, as `NAME=VALUE`."""
    if not isinstance(built, VisionTransformer):
        return ()
    vit: Any = built
    heads = vit.blocks[0].attn.num_heads
    pooling = {"token": "token", "avg": "mean"}.get(built.global_pool)
    eps = vit.fc_norm.eps if isinstance(vit.fc_norm, nn.LayerNorm) else vit.norm.eps
    return (f"heads={heads}", f"norm_eps={eps}", *([f"pooling={pooling}"] if pooling else []))


def network(model: str) -> nn.Module:
    """timm's network without its classifier; the weights are to be filled in."""
    with seeded(0):
        return timm.create_model(model, pretrained=False, num_classes=0)
