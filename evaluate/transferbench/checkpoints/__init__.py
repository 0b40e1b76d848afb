"""What a checkpoint is once read: a card, a backbone, a digest and the proof that every tensor was used."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator, model_serializer
from torch import Tensor, nn

from transferbench.backbones import Architecture
from transferbench.data.transforms import Preprocess
from transferbench.settings import Settings

CONTROL = "random-init"
"""The name, method and format of a network that nothing was loaded into: what others are judged beside."""


class Origin(Settings):
    """Where weights come from; None where nobody said."""

    method: str | None = None
    recipe: str | None = None
    recipe_sha256: str | None = None
    data: str | None = None
    epochs: int | None = None
    seed: int | None = None
    commit: str | None = None
    source_sha256: str | None = None
    license: str | None = None
    source: str | None = Field(default=None, description="the URL, or repository, commit and file, of a download")

    @model_serializer(mode="wrap")
    def _written(self, plain: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without `source` where there is none: earlier records keep their checksum."""
        return {name: value for name, value in plain(self).items() if name != "source" or value is not None}


class Library(Settings):
    """Whose code computes a network that is no family's of ours, and what it made of a fixed image."""

    name: str
    version: str
    features: tuple[float, ...] = Field((), description="a few features of a fixed image, with these weights")


class Card(Settings):
    """The header of our `backbone.safetensors`: all one needs to use the weights as they were meant."""

    schema_version: int = 1
    architecture: Architecture
    preprocess: Preprocess
    origin: Origin = Origin()
    library: Library | None = Field(default=None, description="of a network that a library computes")

    @model_serializer(mode="wrap")
    def _written(self, plain: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without `library` where there is none: earlier records keep their checksum."""
        return {name: value for name, value in plain(self).items() if name != "library" or value is not None}

    @field_validator("schema_version")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(
                f"schema {version} of cards is not known here, only 1. Use a later version of transferbench"
            )
        return version


class LoadReport(Settings):
    """How a file's tensors were used. Anything less than every backbone tensor is an error, never a report."""

    format: str
    encoder: str = Field(default="", description="which network of the file: its prefix")
    matched: int
    parameters: int
    dropped: dict[str, list[str]] = Field(
        default={}, description="reason -> names of tensors that are no part of the backbone"
    )
    assumed: list[str] = Field(default=[], description="what the file does not say and was taken for granted")
    overridden: list[str] = Field(default=[], description="what was said with --as, or by the library a name is of")

    @model_serializer(mode="wrap")
    def _written(self, plain: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without `overridden` where nothing was: earlier records keep their checksum."""
        return {name: value for name, value in plain(self).items() if name != "overridden" or value}


@dataclass(frozen=True)
class Candidate:
    """A backbone ready to be judged, or known and not built yet.

    One that is not built yet has a `build`, and its `backbone` is on the meta device: all names and shapes, no values.
    So that many candidates take no more memory than one, each is `built` for its turn and let go after it.

    `file_sha256` is None where there is no file: a live module or a random-initialized control. `is_repeatable` is
    False for a live module that gives other features from pass to pass: nothing of it may be taken up by another call.
    """

    name: str
    backbone: nn.Module
    card: Card
    digest: str
    report: LoadReport
    file_sha256: str | None = None
    path: Path | None = None
    is_repeatable: bool = True
    build: "Callable[[Candidate], nn.Module] | None" = None

    def built(self) -> "Candidate":
        """The candidate with its weights; itself where it holds them.

        Raises:
            UserError: when they can no longer be had as they were.
        """
        return self if self.build is None else replace(self, backbone=self.build(self), build=None)


def digest(state: Mapping[str, Tensor]) -> str:
    """The identity of weights, whatever file or precision they travel in.

    sha256 over sorted (name, shape, little-endian float32 bytes), without `num_batches_tracked`.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = state[name].detach().to("cpu", torch.float32).contiguous()
        total.update(f"{name}\0{list(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
