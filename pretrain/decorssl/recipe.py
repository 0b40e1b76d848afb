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
from transferbench.optim import cosine_with_warmup, stepwise
from transferbench.runtime import fast_precision
from transferbench.settings import Settings

M = TypeVar("M", bound=Settings)

FOLDER = Path(__file__).parent / "recipes"
PROSE = ("name", "about", "targets")
"""The fields of a recipe that decide nothing."""


class Optim(Settings):
    """How weights are updated; the learning rate is set anew every step.

    By default SGD with linear warm-up and a half cosine (spec 1.1 "Optimiser / schedule", [code]); `schedule: drops`
    multiplies the rate by `drop_factor` at epochs counted from the end (spec 1.3 "Small-set optimiser", [code]).
    """

    kind: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(gt=0, description="learning rate, for a batch of 256 where it is scaled")
    scale_with_batch: bool = Field(True, description="multiply lr by batch_size / 256")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: float = Field(ge=0, description="added to the gradient, for Adam too")
    decay_vectors: bool = Field(description="weight decay on biases and normalisation parameters too")
    warmup_epochs: float = Field(2, ge=0)
    warmup_steps: int | None = Field(None, ge=0, description="in place of warmup_epochs")
    schedule: Literal["cosine", "drops"] = "cosine"
    floor: float = Field(0.001, ge=0, le=1, description="the cosine's last learning rate, as a share of the first")
    drops_before_end: tuple[int, ...] = Field((), description="epochs before the end at which the rate drops")
    drop_factor: float = Field(0.2, gt=0, le=1)

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer of parameter groups that state their weight decay."""
        if self.kind == "adam":
            return torch.optim.Adam(groups, lr=self.lr)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum)

    def rate(self, step: int, steps_per_epoch: int, epochs: int, batch_size: int) -> float:
        """The learning rate of a step (0-based)."""
        warmup = round(self.warmup_epochs * steps_per_epoch) if self.warmup_steps is None else self.warmup_steps
        if self.schedule == "cosine" or step < warmup:
            factor = cosine_with_warmup(step, epochs * steps_per_epoch, warmup, self.floor)
        else:
            factor = stepwise(step // steps_per_epoch, [epochs - e for e in self.drops_before_end], self.drop_factor)
        return self.lr * factor * (batch_size / 256 if self.scale_with_batch else 1)


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
    own = names(method)
    known = (
        f"Choose one to start from with --recipe: {', '.join(own)}." if own else "Write one and name it with --recipe."
    )
    raise UserError(f"No recipe of {method} is made for the data set '{data}'. {known}")
