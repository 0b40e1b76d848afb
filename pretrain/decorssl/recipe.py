"""A recipe: everything that decides the weights a pretraining run ends with."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator, model_serializer

from decorssl.catalog import DATA, METHODS, PROSE, recipe_values, with_summary
from decorssl.catalog import RECIPES as FOLDER
from decorssl.catalog import recipe_file as file_of
from decorssl.catalog import recipe_names as names
from decorssl.heads import Projector
from decorssl.optimizer import OptimizerSettings
from decorssl.output_whitening import Whitening
from decorssl.uniformity import Uniformity
from decorssl.views import View
from transferbench import renamed, settings
from transferbench.backbones import Architecture, complete
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.fields import Branches
from transferbench.origins import SettingsSource
from transferbench.registries import FAMILIES
from transferbench.runtime import fast_precision
from transferbench.settings import Settings

__all__ = [
    "FOLDER",
    "ExpectedScore",
    "Recipe",
    "Stage",
    "branches",
    "checked",
    "file_of",
    "names",
    "read",
]


LATER = ("image_range", "uniformity", "whitening")
"""Fields that the first recipes had not, where they are none."""


class ExpectedScore(Settings):
    """A score somebody published, or measured here, for this recipe."""

    task: str = Field(description="task and data set")
    value: float = Field(description="the score, usually in percent")
    source: str = Field(description="where it was published or measured")


class Stage(Settings):
    """Epochs in which the views are smaller."""

    until_epoch: int = Field(ge=1, description="the stage ends with this epoch, counted from 1")
    scale: float = Field(gt=0, lt=1, description="factor on the side of every crop")


class Recipe(Settings):
    """The settings of one pretraining run."""

    name: str = Field(description="name of the run; by default the file's name")
    summary: str = Field(description="one sentence, printed when the run begins")
    method: str = Field(description="a method listed by `pretrain ls`, or an import path")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    data: str | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        DATA, description="a data set's name or path; or several, without their labels"
    )
    split: str = Field("train", description="split to pretrain on; STL-10 also has train+unlabeled")
    image_range: tuple[float, float] | None = Field(
        None, description="values of black and white in images of more than 8 bits a channel"
    )
    limit: int | None = Field(None, ge=2, description="pretrain on this many images, evenly over classes")
    backbone: Architecture = Field(description="network to pretrain")
    zero_init_residual: bool = Field(False, description="residual branches of a ResNet start at zero")
    whitening: Whitening | None = Field(
        None, description="whitening as the last layer of the backbone, kept in its file"
    )
    projector: Projector = Field(description="head between backbone and loss, discarded after pretraining")
    uniformity: Uniformity | None = Field(None, description="the W2 uniformity of embeddings as a term of the loss")
    views: tuple[View, ...] = Field(min_length=1, description="random augmentations of each view")
    preprocess: Preprocess = Field(description="normalization, and preprocessing when the backbone is evaluated")
    optim: OptimizerSettings = Field(description="how weights are updated")
    epochs: int = Field(ge=1, description="passes over the training images")
    batch_size: int = Field(ge=2, description="the global batch, over all processes")
    micro_batch_size: int | None = Field(
        None,
        ge=2,
        description="gradient caching, for a batch that does not fit in memory: images (over all processes) sent "
        "through the backbone at a time; loss and projector see the whole batch, batch normalization in the backbone "
        "only these",
    )
    growth: tuple[Stage, ...] | None = Field(
        None, description="progressive resizing: smaller views in the first epochs"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of the backbone and projector")
    seed: int = Field(0, ge=0, description="seed of initial weights, image order and views")
    targets: tuple[ExpectedScore, ...] = Field((), description="published or measured scores")

    @model_serializer(mode="wrap")
    def _written(self, plain: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without what later versions added, where it has its default: runs keep their hash."""
        return {name: value for name, value in plain(self).items() if name not in LATER or value is not None}

    @field_validator("data")
    @classmethod
    def _plain(cls, data: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """One in a list is that one."""
        if isinstance(data, str):
            return data
        if not all(data):
            raise ValueError("a name is empty")
        return data[0] if len(data) == 1 else data

    @field_validator("growth")
    @classmethod
    def _rising(cls, stages: tuple[Stage, ...] | None) -> tuple[Stage, ...] | None:
        ends = [stage.until_epoch for stage in stages or ()]
        if ends != sorted(set(ends)):
            raise ValueError(f"each stage ends later than the one before; found until_epoch {ends}")
        return stages

    @property
    def growing(self) -> list[tuple[int, float]]:
        """(end of a run of epochs, how much the crops are scaled in it), to the last epoch."""
        early = [(min(stage.until_epoch, self.epochs), stage.scale) for stage in self.growth or ()]
        return [*early, (self.epochs, 1.0)]

    @property
    def sha256(self) -> str:
        """What two runs share when they differ in nothing but their seed."""
        return settings.sha256(self.model_dump(mode="json", exclude={"seed", *PROSE}))

    def resolved(self, device: torch.device) -> "Recipe":
        """The same recipe with `auto` decided for this machine."""
        return self.model_copy(update={"precision": fast_precision(device)}) if self.precision == "auto" else self

    @property
    def config(self) -> Settings:
        """The method's own settings."""
        return METHODS.load(self.method).Config.model_validate(self.settings)


def read(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by name or from a file, with `a.b=v` overrides, the method's settings checked and filled in.

    Raises:
        UserError: listing every setting that does not fit.
    """
    path = file_of(source)
    values, files = recipe_values(path)
    values = settings.merged(values, overrides)
    return checked({"name": path.stem, **values}, SettingsSource(files, tuple(overrides)))


def checked(values: Mapping[str, Any], origin: SettingsSource | None = None) -> Recipe:
    """The recipe of such values, read from `origin`, the method's settings checked and filled in.

    Raises:
        UserError: listing every setting that does not fit.
    """
    values = with_summary(values)
    try:
        inner = branches(values)
    except UserError as error:
        raise UserError(f"{origin.name}: {error}" if origin else str(error)) from None
    recipe = settings.read(Recipe, values, origin=origin, branches=inner)
    config = inner["settings"].model_validate(recipe.settings)
    return recipe.model_copy(update={"settings": config.model_dump(mode="json"), "backbone": complete(recipe.backbone)})


def branches(values: Mapping[str, Any]) -> Branches:
    """The models of the settings that the method and the backbone's family decide."""
    backbone = values.get("backbone")
    family = backbone.get("family") if isinstance(backbone, Mapping) else None
    of_backbone = {"backbone.arguments": FAMILIES.load(str(family)).Arguments} if family else {}
    return {"settings": METHODS.load(str(values.get("method", ""))).Config, **of_backbone}


__getattr__ = renamed.names_of(__name__)
