"""Every classification network of torchvision, built by torchvision itself, in its names.

It is imported by what asks it: that takes longer than importing torch.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._library import (
    ELSEWHERE,
    LibraryBackbone,
    Undrawn,
    described,
    in_time,
    require_bearable,
    require_plain,
    width,
)
from transferbench.errors import nearest
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

HEADS = ("fc", "heads", "head", "classifier")
FORBIDDEN = frozenset({"weights", "weights_backbone", "progress", "num_classes", "pretrained", *ELSEWHERE})
"""What fetches weights, or belongs to the classifier."""
UNTOLD = frozenset({"googlenet", "inception_v3"})
"""Networks whose published weights normalize images anew inside (`transform_input`), which no file tells."""
UNUSED = {"aux_logits": False, "init_weights": False}
"""What is given to those: no auxiliary classifiers, which evaluation never reads, no slow start."""


class Arguments(Settings):
    """What fixes the computation: torchvision's name of the network, and what it is given beside that."""

    name: str = Field(description="a name of torchvision.models.list_models(module=torchvision.models)")
    arguments: dict[str, Any] = Field({}, description="what torchvision.models.get_model takes beside it")

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in _every():
            every = sorted(_every())
            raise ValueError(f"torchvision {version()} has no classification network '{name}'.{nearest(name, every)}")
        return name

    @field_validator("arguments")
    @classmethod
    def _are_plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        require_plain(arguments, FORBIDDEN)
        require_bearable(arguments)
        return {"image_size" if name == "img_size" else name: value for name, value in arguments.items()}


def network(arguments: Arguments) -> nn.Module:
    """torchvision's own module without the last layer of its classifier, which is what its features are given to.

    Raises:
        ValueError: when torchvision does not build it from these arguments.
    """
    given = UNUSED if arguments.name in UNTOLD else {}
    try:
        with Undrawn(), in_time():
            built = _made(arguments.name, {**given, **arguments.arguments})
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"torchvision does not build {arguments.name}: {error}") from None
    _remove_last(built, next(head for head in HEADS if hasattr(built, head)))
    return built


def _made(name: str, given: Mapping[str, Any]) -> nn.Module:
    """As torchvision builds it; RegNets reckon their sizes with tensors, which the meta device cannot."""
    import torchvision

    try:
        return torchvision.models.get_model(name, weights=None, **given)
    except NotImplementedError:
        with torch.device("cpu"):
            return torchvision.models.get_model(name, weights=None, **given).to("meta")


def _remove_last(network: nn.Module, head: str) -> None:
    """Replace the last layer with weights of a classifier; what stands before it belongs to the features."""
    part = getattr(network, head)
    if not isinstance(part, nn.Sequential):
        setattr(network, head, nn.Identity())
        return
    last = [name for name, module in part.named_children() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    setattr(part, last, nn.Identity())


def build(arguments: Arguments) -> Backbone:
    """The network, with torchvision's initialization.

    Raises:
        ValueError: when torchvision does not build it from these arguments.
    """
    backbone = LibraryBackbone(network(arguments))
    backbone.side = side(arguments.model_dump())
    backbone.width = _width(arguments.model_dump_json())
    return backbone


@cache
def _width(arguments: str) -> int:
    full = Arguments.model_validate_json(arguments)
    with torch.device("meta"):
        return width(LibraryBackbone(network(full)), side(full.model_dump()))


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: names and shapes lead to torchvision's networks by an index of all of them."""
    return []


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    return [f"computed by torchvision's own {arguments['name']}; features are what its last linear layer is given"]


def describe(arguments: Mapping[str, Any]) -> str:
    """torchvision's name, with what it was given beside it."""
    return described(str(arguments["name"]), dict(arguments.get("arguments", {})), arguments)


def side(arguments: Mapping[str, Any]) -> int:
    """Of the images that the network is made for, pixels: as it is told, else of its default weights."""
    told = dict(arguments.get("arguments") or {}).get("image_size")
    if told is not None:
        return int(told)
    import torchvision

    weights: Any = torchvision.models.get_model_weights(str(arguments["name"]))
    return int(weights.DEFAULT.transforms().crop_size[0]) if len(weights) else 224


def version() -> str:
    """torchvision's version."""
    import torchvision

    return torchvision.__version__.partition("+")[0]


def names() -> list[str]:
    """Every network that its file's names and shapes may tell."""
    return sorted(_every() - UNTOLD)


@cache
def _every() -> frozenset[str]:
    import torchvision

    return frozenset(torchvision.models.list_models(module=torchvision.models))
