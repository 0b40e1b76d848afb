"""A recipe: everything that decides the weights a pretraining run ends with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field

from decorssl.heads import Projector
from decorssl.methods import METHODS
from decorssl.views import View
from transferbench import settings
from transferbench.backbones import Architecture, complete
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError, unknown
from transferbench.runtime import fast_precision
from transferbench.settings import Settings

M = TypeVar("M", bound=Settings)

FOLDER = Path(__file__).parent / "recipes"
PROSE = ("name", "about", "targets")
"""The fields of a recipe that decide nothing."""


class Optim(Settings):
    """SGD with linear warm-up and a half cosine, stepped every batch (spec 1.1 "Optimiser / schedule", [code])."""

    lr: float = Field(gt=0, description="learning rate for a batch of 256; scaled by batch_size / 256")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    decay_vectors: bool = Field(description="weight decay on biases and normalisation parameters too")
    warmup_epochs: float = Field(2, ge=0)
    floor: float = Field(0.001, ge=0, le=1, description="the last learning rate, as a share of the first")


class Target(Settings):
    """A score somebody published, or measured here, for this recipe."""

    task: str
    value: float
    source: str


class Recipe(Settings):
    """The settings of one pretraining run."""

    name: str
    about: str
    method: str
    settings: dict[str, Any] = Field(default_factory=dict, description="the method's own")
    data: str = "digits"
    limit: int | None = Field(None, ge=2, description="pretrain on this many images, evenly over classes")
    backbone: Architecture
    zero_init_residual: bool = Field(False, description="residual branches of a ResNet start at zero")
    projector: Projector
    views: tuple[View, ...] = Field(min_length=1)
    preprocess: Preprocess
    optim: Optim
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2, description="the global batch, over all processes")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of the backbone and projector")
    seed: int = Field(0, ge=0)
    targets: tuple[Target, ...] = ()

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


def names(method: str | None = None) -> list[str]:
    """The recipes that come with the package, those of one method or all."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if method is None or path.stem.split("-")[0] == method)


def read(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by name or from a file, with `a.b=v` overrides, the method's settings checked and filled in.

    Raises:
        UserError: listing every setting that does not fit.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml", ".json"):
        path = FOLDER / f"{source}.yaml"
        if not path.is_file():
            raise unknown("recipe", str(source), names())
    values = {"name": path.stem, **settings.merged(path, overrides)}
    recipe, misfits = _validated(Recipe, values)
    config_type = METHODS.load(values.get("method", "")).Config
    config, method_misfits = _validated(config_type, values.get("settings") or {})
    if recipe is None or config is None:
        raise UserError("\n".join(misfits + method_misfits))
    return recipe.model_copy(update={"settings": config.model_dump(mode="json"), "backbone": complete(recipe.backbone)})


def _validated(model: type[M], values: Mapping[str, Any]) -> tuple[M | None, list[str]]:
    """The settings, or what does not fit, so that the misfits of several parts can be told together."""
    try:
        return settings.read(model, values), []
    except UserError as error:
        return None, [str(error)]


def for_method(method: str, data: str) -> str:
    """The name of the recipe a method has for a data set.

    Raises:
        UserError: when the method is unknown, or has no recipe for this data set.
    """
    if method not in METHODS.names():
        raise unknown("method", method, METHODS.names())
    name = f"{method}-{Path(data).stem}"
    if name in names():
        return name
    raise UserError(
        f"No recipe of {method} is made for the data set '{data}'. Choose one to start from with --recipe: "
        f"{', '.join(names(method))}."
    )
