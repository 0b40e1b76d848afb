"""torchvision's own weights: `torchvision:resnet50`, or `torchvision:resnet50/IMAGENET1K_V1` to choose."""

import json
from typing import Any

import torchvision

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.backbones.torchvision import UNTOLD
from transferbench.checkpoints.beside import USUAL
from transferbench.checkpoints.downloads import Located, _urls
from transferbench.errors import unknown


def find(name: str) -> Located:
    """The default weights of a model, or those named behind a `/`.

    Raises:
        UserError: for a model or weights that torchvision does not have, or when the download fails.
    """
    model, _, chosen = name.partition("/")
    models = torchvision.models.list_models(module=torchvision.models)
    if model not in models:
        raise unknown("model of torchvision", model, models)
    every: Any = torchvision.models.get_model_weights(model)
    if chosen and chosen not in every.__members__:
        raise unknown(f"weights of torchvision's {model}", chosen, every.__members__)
    weights = every[chosen] if chosen else every.DEFAULT
    return Located(
        _urls.fetched(weights.url),
        f"{model}.{weights.name}",
        weights.url,
        overrides(weights.transforms()),
        (f"size, crop, interpolation, mean and std as in torchvision's {weights}",),
        backbones.complete(
            Architecture(family="torchvision", arguments={"name": model, "arguments": given(model, weights)})
        ),
    )


def given(model: str, weights: Any) -> dict[str, Any]:
    """What torchvision itself builds a network with for these weights: a ViT's image size, TensorFlow's input."""
    side = weights.meta["min_size"][0]
    if model in UNTOLD:
        return {"transform_input": True}
    return {"image_size": side} if model.startswith("vit_") and side != USUAL else {}


def overrides(images: Any) -> tuple[str, ...]:
    """The preset of weights (`weights.transforms()`) as `NAME=VALUE`."""
    return (
        f"size={images.resize_size[0]}",
        f"crop={images.crop_size[0]}",
        f"interpolation={images.interpolation.value}",
        f"mean={json.dumps(images.mean)}",
        f"std={json.dumps(images.std)}",
    )
