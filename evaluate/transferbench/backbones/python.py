"""A network that a function of a person's own builds: `python:path/file.py:build` or `python:package.module:build`."""

from collections.abc import Mapping
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import torch
from pydantic import Field, field_validator
from torch import nn

from transferbench import plugins
from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._library import LibraryBackbone, described, require_plain, width
from transferbench.errors import UserError
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

_GIVEN: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()
"""Tensors of the networks that were built, as long as these are in use."""
CODE = plugins.Registry("transferbench.backbones.python", "network's code")
"""Without entries of its own: all of it is from elsewhere, named by a person (`plugins.allow`)."""


class Arguments(Settings):
    """Which function of which file or module builds the network, what it is given, and for which images."""

    name: str = Field(description="path/file.py:FUNCTION or package.module:FUNCTION; records leave out the folder")
    arguments: dict[str, Any] = Field({}, description="what the function takes")
    image_size: int = Field(224, ge=1, le=8192, description="side of the images that the network takes, pixels")

    @field_validator("name")
    @classmethod
    def _is_recorded(cls, name: str) -> str:
        code, function = parted(name)
        return f"{plugins.recorded(code)}:{function}"

    @field_validator("arguments")
    @classmethod
    def _are_plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        require_plain(arguments)
        return arguments


def parted(name: str) -> tuple[str, str]:
    """The code and the function in it.

    Raises:
        ValueError: when it is no such name.
    """
    code, colon, function = name.rpartition(":")
    if not colon or not function.isidentifier() or not plugins.is_outside(code):
        raise ValueError(f"'{name}': expected path/file.py:FUNCTION or package.module:FUNCTION")
    return code, function


def allow(name: str) -> None:
    """Import the code that a person names; from now on files may name it too, without its folder.

    Raises:
        UserError: when it is no such name, or why it cannot be imported.
    """
    try:
        code, _ = parted(name)
    except ValueError as error:
        raise UserError(f"--as arch=python:{error}.") from None
    plugins.allow(code)


def network(arguments: Arguments) -> nn.Module:
    """What the function returns.

    Raises:
        UserError: when a file names the code and no person has, when there is no such function, or what it raised.
        ValueError: when it returns no network.
    """
    code, function = parted(arguments.name)
    made = getattr(CODE.registered(code), function, None)
    if not callable(made):
        raise UserError(f"{code} has no function '{function}'. Name one that builds the network.")
    try:
        built = made(**arguments.arguments)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{arguments.name} does not build a network of {arguments.arguments}: {_reason(error)}"
        ) from None
    if not isinstance(built, nn.Module):
        raise ValueError(f"{arguments.name} returns {type(built).__name__}, not a torch.nn.Module")
    tensors = [*built.parameters(), *built.buffers()]
    if any(_GIVEN.get(id(each)) is each for each in tensors):
        raise UserError(
            f"{arguments.name} returns tensors that it has returned before, and two networks would share them. "
            "Expected a new network at each call."
        )
    _GIVEN.update((id(each), each) for each in tensors)
    return built


def build(arguments: Arguments) -> Backbone:
    """The network, as the function initializes it.

    Raises:
        UserError: as `network`.
    """
    backbone = LibraryBackbone(network(arguments))
    backbone.side = arguments.image_size
    backbone.width = _width(arguments.model_dump_json())
    return backbone


@cache
def _width(arguments: str) -> int:
    """On the meta device, or where it does not run there, with values."""
    full = Arguments.model_validate_json(arguments)
    try:
        with torch.device("meta"):
            return width(LibraryBackbone(network(full)), full.image_size)
    except UserError:
        with torch.device("cpu"), torch.no_grad():
            images, backbone = (
                torch.zeros(1, 3, full.image_size, full.image_size),
                LibraryBackbone(network(full)).eval(),
            )
            try:
                return backbone(images).shape[1]
            except UserError:
                raise
            except (Exception, SystemExit) as error:
                raise UserError(
                    f"The network of {full.name} does not take images of {list(images.shape)}: {_reason(error)}. "
                    "Expected a forward from images to one vector each; another side is said with --as image_size=N."
                ) from None


def _reason(error: BaseException) -> str:
    """What a person's code raised, in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: nothing of a file leads to a person's code."""
    return []


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """Whose computation it is."""
    return [f"computed by {arguments['name']}, which is not part of this package"]


def describe(arguments: Mapping[str, Any]) -> str:
    """File and function, with what it was given."""
    return described(str(arguments["name"]), dict(arguments.get("arguments", {})), arguments)
