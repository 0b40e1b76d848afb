"""Every classification network of torchvision, built by torchvision itself, in its names."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
import torchvision
from pydantic import Field, field_validator
from torch import nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._library import LibraryBackbone, require_plain, uninitialized
from transferbench.errors import nearest
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

CLASSES = 1000
"""What torchvision's networks tell apart by default: the last layer with so many outputs is the classifier."""
FORBIDDEN = frozenset({"weights", "weights_backbone", "progress", "num_classes"})
PUBLISHED = {"inception_v3": {"transform_input": True}, "googlenet": {"transform_input": True}}
"""How the networks are built whose published weights need it."""


class Arguments(Settings):
    """What fixes the computation: torchvision's name of the network, and what it is given beside that."""

    name: str = Field(description="a name of `torchvision.models.list_models(module=torchvision.models)`")
    arguments: dict[str, Any] = Field({}, description="what its function takes beside it, such as image_size")

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in _names():
            raise ValueError(
                f"torchvision {torchvision.__version__} has no network '{name}'.{nearest(name, sorted(_names()))}"
            )
        return name

    @field_validator("arguments")
    @classmethod
    def _are_plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        require_plain(arguments, FORBIDDEN)
        return arguments


def network(arguments: Arguments) -> nn.Module:
    """torchvision's own module, without its classifier and without auxiliary ones.

    Raises:
        ValueError: when torchvision does not build it from these arguments.
    """
    usual: dict[str, Any] = dict(PUBLISHED.get(arguments.name, {}))
    if usual:
        usual |= {"aux_logits": False, "init_weights": False}
    try:
        made = _made(arguments.name, {**usual, **arguments.arguments})
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"torchvision does not build {arguments.name}: {error}") from None
    last = [name for name, part in made.named_modules() if _outputs(part) == CLASSES][-1]
    parent, _, child = last.rpartition(".")
    head: Any = made.get_submodule(last)
    setattr(made.get_submodule(parent), child, nn.Identity())
    made.given_to_classifier = int(getattr(head, "in_features", 0) or head.in_channels)
    return made


def _made(name: str, given: dict[str, Any]) -> nn.Module:
    """The module; a RegNet works out its widths with tensors, which the meta device cannot."""
    is_meta = torch.get_default_device().type == "meta"
    if not (is_meta and name.startswith("regnet")):
        return torchvision.models.get_model(name, weights=None, **given)
    with uninitialized(), torch.device("cpu"):
        return torchvision.models.get_model(name, weights=None, **given).to("meta")


def build(arguments: Arguments) -> Backbone:
    """The network, with torchvision's initialization."""
    backbone = LibraryBackbone(network(arguments))
    backbone.side = side(arguments.model_dump())
    backbone.num_prefix_tokens = int(hasattr(backbone.network, "class_token"))
    backbone.width = int(backbone.network.given_to_classifier)  # pyright: ignore[reportArgumentType]
    return backbone


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: names and shapes lead to torchvision's networks by an index of all of them."""
    return []


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    said = [f"computed by torchvision's own {arguments['name']}; features are what its classifier is given"]
    if str(arguments["name"]) in PUBLISHED:
        said.append("images are normalized anew inside, as torchvision's weights need (transform_input)")
    return said


def describe(arguments: Mapping[str, Any]) -> str:
    """torchvision's name, with what it was given beside it."""
    given = [f"{name}={value}" for name, value in sorted(dict(arguments.get("arguments", {})).items())]
    return " ".join([str(arguments["name"]), *given])


def side(arguments: Mapping[str, Any]) -> int:
    """Of the images that the network is made for, pixels: as it is told, else of its default weights."""
    told = dict(arguments.get("arguments") or {}).get("image_size")
    if told is not None:
        return int(told)
    weights: Any = torchvision.models.get_model_weights(str(arguments["name"]))
    return int(weights.DEFAULT.transforms().crop_size[0]) if len(weights) else 224


def version() -> str:
    """torchvision's version."""
    return torchvision.__version__.partition("+")[0]


def names() -> list[str]:
    """Every network."""
    return list(torchvision.models.list_models(module=torchvision.models))


@cache
def _names() -> frozenset[str]:
    return frozenset(names())


def _outputs(part: nn.Module) -> int:
    return int(getattr(part, "out_features", 0) or getattr(part, "out_channels", 0) or 0)
