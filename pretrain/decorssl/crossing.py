"""A method with a recipe that was made for another one, or for none.

Of the recipe: data, views, backbone, optimizer and length. Of the method: the settings that it was published with for
images of that size, and the kind of its head; sub-batches, groups and the embedding then fit the batch.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, cast

from decorssl import recipe as recipes
from decorssl.catalog import DATA, PROSE, generic_names, recipe_file, recipe_names, recipe_values
from decorssl.heads import Projector
from decorssl.methods import METHODS, Fitting
from decorssl.networks import named
from decorssl.recipe import Recipe
from transferbench import settings
from transferbench.data import LabeledImages
from transferbench.data.live import LabeledSplits
from transferbench.data.unlabeled import open_split
from transferbench.errors import UserError
from transferbench.origins import SettingsSource
from transferbench.plugins import is_outside

DIGITS = "small-digits"
"""The recipe on the embedded digits of methods that have none of their own."""
LARGEST = {"small-32": 48, "small-64": 112, "medium-224": math.inf}
"""The generic recipes, each with the shortest side of the images that it is for, in pixels."""
SEEN = 16
"""Images whose size is looked at."""
KIND = ("hidden_norm", "activation", "output_bias", "output_norm")
"""The fields of a head that are the method's and not a matter of size."""


def chosen(
    method: str,
    recipe: str | None,
    overrides: Sequence[str],
    root: Path,
    network: str | None = None,
    live: LabeledSplits | None = None,
) -> Recipe:
    """What `pretrain METHOD` trains: the recipe named, or the method's own for the data, or one by image size.

    Args:
        overrides: `a.b=v`, over all else.
        root: the folder of data sets.
        network: a short name (`networks.named`), in place of the recipe's backbone.
        live: the data, where they were handed over in Python.

    Raises:
        UserError: for settings that do not fit, and where the data are not here.
    """
    data = _data(overrides)
    own = f"{method}-{Path(data).stem}" if isinstance(data, str) and live is None else ""
    source = recipe or (own if own in recipe_names() else DIGITS if data == DATA else None)
    is_generic = source is None or source in generic_names()
    images = (live.open_split("train") if live else open_split(data, "train", root)) if is_generic else None
    source = source or by_size(cast(LabeledImages, images))
    values, _ = recipe_values(recipe_file(source))
    if network is not None:
        side = values["preprocess"].get("crop", 224)
        overrides = [f"backbone={json.dumps(named(network, values['backbone'], side))}", *overrides]
    if values.get("method") == method:
        return recipes.read(source, overrides)
    return crossed(method, source, overrides, None if images is None else len(images))


def title(method: str) -> str:
    """What a method is called in a sentence."""
    return Path(method).stem if is_outside(method) else METHODS.summary(method).partition(":")[0]


def by_size(images: LabeledImages) -> str:
    """The generic recipe for images of this size."""
    some = range(0, len(images), max(1, len(images) // SEEN))
    side = median(_sides(images, some) or [images.size(0)[0]])
    return next(name for name, largest in LARGEST.items() if side <= largest)


def _data(overrides: Sequence[str]) -> str | tuple[str, ...]:
    """The data that overrides name, or the embedded ones."""
    given = next((each for each in reversed(overrides) if each.startswith("data=")), f"data={DATA}")
    value = settings.parse_override(given)[1]
    return tuple(map(str, value)) if isinstance(value, list) else given.removeprefix("data=")


def _sides(images: LabeledImages, some: Iterable[int]) -> list[int]:
    """The shorter sides of some images; one that cannot be opened is told when its turn comes, or replaced."""
    sides: list[int] = []
    for index in some:
        with suppress(UserError):
            sides.append(min(images.size(index)))
    return sides


def crossed(method: str, base: str, overrides: Sequence[str] = (), images: int | None = None) -> Recipe:
    """The method with the recipe `base`; its batch is no larger than the number of images, where that is given.

    Raises:
        UserError: listing every setting that does not fit.
    """
    path = recipe_file(base)
    values, files = recipe_values(path)
    published = _published(method, values)
    values = {name: value for name, value in values.items() if name not in (*PROSE, "settings", "method")}
    if images is not None:
        values["batch_size"] = min(values["batch_size"], 2 ** (max(images, 2).bit_length() - 1))
    if published:
        values["projector"] = headed(values["projector"], published.projector)
        values["optim"] = {**values["optim"], "constant_predictor_lr": published.optim.constant_predictor_lr}
    named = {
        "name": f"{Path(method).stem}-{path.stem}",
        "summary": f"{title(method)} with the recipe {path.stem}",
        "method": method,
        "settings": published.settings if published else {},
    }
    origin = SettingsSource(files, tuple(overrides))
    plain = recipes.checked(settings.merged({**values, **named}, overrides), origin)
    fitting = {"projector": dict(values["projector"]), "settings": plain.settings, **_fitting(plain)}
    return recipes.checked(settings.merged({**values, **named, **fitting}, overrides), origin)


def headed(own: Mapping[str, Any], published: Projector) -> dict[str, Any]:
    """A recipe's head of the kind that a method is published with; its embedding is no wider than that one."""
    kind = {name: getattr(published, name) for name in KIND}
    return {**own, **kind, "output": min(own.get("output", published.output), published.output)}


def _published(method: str, values: Mapping[str, Any]) -> Recipe | None:
    """The recipe of the method itself whose images are nearest in size; of several the first."""
    side = values["preprocess"].get("crop", 224)
    return min(_of_method(method), key=lambda each: abs(math.log(each.preprocess.crop / side)), default=None)


@cache
def _of_method(method: str) -> tuple[Recipe, ...]:
    return tuple(recipes.read(name) for name in recipe_names(method))


def _fitting(recipe: Recipe) -> dict[str, Any]:
    """The settings and the head with which the method works in batches of this size."""
    method = METHODS.load(recipe.method)
    if not isinstance(method, Fitting):
        return {}
    config, channels = method.fitted(recipe.config, recipe.batch_size, recipe.projector.output)
    head = recipe.projector.model_copy(update={"output": channels})
    return {"settings": config.model_dump(mode="json"), "projector": head.model_dump(mode="json")}
