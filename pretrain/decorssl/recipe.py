"""A recipe: everything that decides the weights a pretraining run ends with."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_serializer

from decorssl.heads import Projector
from decorssl.methods import METHODS
from decorssl.optimizer import OptimizerSettings
from decorssl.views import View
from transferbench import renamed, settings
from transferbench.backbones import FAMILIES, Architecture, complete
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError, elsewhere, unknown
from transferbench.fields import Branches
from transferbench.origins import SettingsSource
from transferbench.plugins import beside, is_outside
from transferbench.runtime import fast_precision
from transferbench.settings import Settings

FOLDER = Path(__file__).parent / "recipes"
PROSE = ("name", "summary", "targets")
"""The fields of a recipe that decide nothing."""


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
    data: str = Field("digits", description="a data set's name or path")
    split: str = Field("train", description="split to pretrain on; STL-10 also has train+unlabeled")
    image_range: tuple[float, float] | None = Field(
        None, description="values of black and white in images of more than 8 bits a channel"
    )
    limit: int | None = Field(None, ge=2, description="pretrain on this many images, evenly over classes")
    backbone: Architecture = Field(description="network to pretrain")
    zero_init_residual: bool = Field(False, description="residual branches of a ResNet start at zero")
    projector: Projector = Field(description="head between backbone and loss, discarded after pretraining")
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
        return {name: value for name, value in plain(self).items() if name != "image_range" or value is not None}

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


def names(method: str | None = None) -> list[str]:
    """The recipes that come with the package, those of one method or all."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if method is None or path.stem.split("-")[0] == method)


def read(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by name or from a file, with `a.b=v` overrides, the method's settings checked and filled in.

    Raises:
        UserError: listing every setting that does not fit.
    """
    path = file_of(source)
    values, files = _values(path)
    values = settings.merged(values, overrides)
    return checked({"name": path.stem, **values}, SettingsSource(files, tuple(overrides)))


def checked(values: Mapping[str, Any], origin: SettingsSource | None = None) -> Recipe:
    """The recipe of such values, read from `origin`, the method's settings checked and filled in.

    Raises:
        UserError: listing every setting that does not fit.
    """
    values = _with_summary(values)
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


def _with_summary(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the summary under its name, which was `about` before."""
    if "about" not in values:
        return dict(values)
    return {"summary": values["about"], **{name: value for name, value in values.items() if name != "about"}}


def file_of(source: str | Path) -> Path:
    """The file of a recipe by its name, or the file itself. Raises UserError when there is none of that name."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml", ".json"):
        path = FOLDER / f"{source}.yaml"
        if not path.is_file():
            raise unknown("recipe", str(source), names())
    return path


def _values(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """What a recipe file says, over what the recipe it names as its `base` says; and the files, topmost first.

    Prose is not taken over, nor are the settings of another method.
    """
    written = settings.from_file(path)
    if "about" in written and path.suffix != ".json":
        warnings.warn(f"{path}: `about` has been renamed `summary`; the old name still works.", FutureWarning, 2)
    values = _with_summary(written)
    if isinstance(values.get("method"), str):
        values["method"] = beside(values["method"], path.parent)
    base = values.pop("base", None)
    if base is None:
        return values, (path,)
    if path in above:
        raise UserError(
            f"The recipe {path} is its own base, directly or through others. Expected a chain of bases that ends."
        )
    try:
        lower = file_of(base)
    except UserError as error:
        raise UserError(f"{path}, base: {error}") from None
    under, files = _values(lower, (*above, path))
    own = PROSE if values.get("method", under.get("method")) == under.get("method") else (*PROSE, "settings")
    return _laid_over({name: value for name, value in under.items() if name not in own}, values), (path, *files)


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, all else (lists too) is replaced."""
    both = {
        name: _laid_over(under[name], value) if isinstance(value, dict) and isinstance(under.get(name), dict) else value
        for name, value in over.items()
    }
    return {**under, **both}


def for_method(method: str, data: str) -> str:
    """The name of the recipe a method has for a data set.

    Raises:
        UserError: when the method is unknown, or has no recipe for this data set.
    """
    if not is_outside(method) and method not in METHODS.names():
        raise unknown("method", method, METHODS.names())
    name = f"{method}-{Path(data).stem}"
    if name in names():
        return name
    own, there = names(method), [each for each in names() if each.endswith(f"-{Path(data).stem}")]
    base = next(iter(sorted(there, key=lambda each: not each.startswith("intl-"))), "intl-digits")
    known = f"Choose one to start from with --recipe: {', '.join(own)}." if own else with_settings_of(base, method)
    is_here = "/" not in data and Path(data).exists()
    here = f" It lies here and is named by its path: --data ./{data}." if is_here else ""
    raise UserError(elsewhere(data) or f"{method} has no recipe for the data set '{data}'.{here} {known}")


def with_settings_of(base: str, method: str) -> str:
    """How to train a method with the recipe of another."""
    return (
        f"To try {method} with another recipe's settings, write my.yaml and add --recipe my.yaml:\n"
        f"  base: {base}\n  summary: {method} with the settings of {base}\n  method: {method}"
    )


__getattr__ = renamed.names_of(__name__)
