"""timm's models: `timm:vit_small_patch16_224.dino`; without a tag the default one."""

import difflib
from typing import Any

import timm
from timm.models import PretrainedCfg

from transferbench import backbones
from transferbench.backbones import FAMILIES, Architecture
from transferbench.checkpoints import beside
from transferbench.checkpoints.downloads import Located, _hub, _urls
from transferbench.errors import UserError

SHOWN = 5


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
    images = settings.to_dict()
    architecture = Architecture(family="timm", arguments={"name": settings.architecture})
    told = f"size, crop, interpolation, mean and std as in timm's {model}"
    own = FAMILIES.load("timm").own_arguments(architecture.arguments)
    return Located(
        path,
        model,
        source,
        beside.of_timm(images),
        (told, *beside.left_of_timm(images)),
        backbones.complete(architecture),
        own,
    )


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
