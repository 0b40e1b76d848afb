"""The settings of a method, a recipe or a study, as tables for printing."""

import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from decorssl import crossing
from decorssl import recipe as recipes
from decorssl import study as studies
from decorssl.catalog import generic_names
from decorssl.methods import METHODS
from decorssl.recipe import Recipe
from transferbench.errors import UserError, nearest
from transferbench.fields import rows, shown
from transferbench.plugins import is_outside
from transferbench.sheets import Sheet, SheetTable, declared, example, header, resolved, value_at

APART = ("name", "summary", "targets", "views")
"""Fields of a recipe that its table of settings leaves out or shows elsewhere."""
HEADS = ("view", "operation", "its settings", "meaning")
OF_VARIANTS = ("method", "settings", "loss_weight")
"""Settings of a recipe that a study's variants do not share."""


def sheet(name: str) -> Sheet:
    """The sheet of a method, a recipe (also by its file) or a study.

    Raises:
        UserError: when nothing has this name, or a file does not fit.
    """
    if name in generic_names():
        return _of_recipe(name, crossing.crossed("intl", name))
    if name in recipes.names() or Path(name).suffix in (".yaml", ".yml", ".json"):
        return _of_recipe(name)
    if is_outside(name) or name.replace("-", "_") in METHODS.names():
        return _of_method(name if is_outside(name) else name.replace("-", "_"))
    if name in studies.names():
        return _of_study(name)
    close = nearest(name, [*METHODS.names(), *recipes.names(), *generic_names(), *studies.names()])
    raise UserError(f"There is no method, recipe or study '{name}'.{close} `pretrain ls` lists them.")


def _of_method(name: str) -> Sheet:
    method = METHODS.load(name)
    own = recipes.names(name)
    listed = f"Recipes, whose settings `pretrain show RECIPE` prints: {', '.join(own)}." if own else ""
    text = "\n".join(filter(None, (inspect.getdoc(method), inspect.getdoc(method.Config), listed)))
    own_rows = rows(method.Config, prefix="settings.")
    override = example(method.Config)
    commands = (f"pretrain {name} --set settings.{override}",) if override else ()
    return Sheet(f"Method {name}", text, (declared(own_rows, "Settings of the method"),), commands)


def _of_recipe(name: str, crossed: Recipe | None = None) -> Sheet:
    """The sheet of a recipe; of a generic one as it is `crossed` with a method."""
    path = recipes.file_of(name)
    recipe = crossed or recipes.read(name)
    grids = [*_shared(recipe, APART, "Settings (*: not the default)")]
    if recipe.targets:
        lines = tuple((target.task, shown(target.value), target.source) for target in recipe.targets)
        grids.append(SheetTable("Expected scores", ("score", "value", "source"), lines))
    text = "\n".join(filter(None, (recipe.summary, header(path))))
    lr = shown(recipe.optim.lr / 2)
    return Sheet(
        f"Recipe {recipe.name}", text, tuple(grids), (f"pretrain {recipe.method} --recipe {name} --set optim.lr={lr}",)
    )


def _of_study(name: str) -> Sheet:
    study = studies.read(name)
    recipe = study.recipe(next(iter(study.variants)), 0, ())
    apart = [row.name for row in rows(Recipe) if row.name.rpartition(".")[2] in OF_VARIANTS]
    lines = tuple(
        (own, each.method, shown(each.settings or "-"), shown(each.loss_weight), each.claim)
        for own, each in study.variants.items()
    )
    grids = [
        SheetTable("Variants, each trained with the settings below", ("variant", *OF_VARIANTS, "claim"), lines),
        *_shared(recipe, (*APART, "seed", *apart), "Settings of all variants (*: not the default)"),
    ]
    override = f"--set optim.lr={shown(recipe.optim.lr / 2)}"
    return Sheet(f"Study {name}", f"{study.summary}\n{study.about}", tuple(grids), (f"pretrain {name} {override}",))


def _shared(recipe: Recipe, apart: Sequence[str], caption: str) -> tuple[SheetTable, SheetTable]:
    """The settings of a recipe but for those `apart` and what belongs to them, and its views."""
    shared = [row for row in rows(Recipe, recipes.branches(recipe.model_dump())) if not _belongs(row.name, apart)]
    return (
        resolved([(row, value_at(recipe, row.name)) for row in shared], caption),
        SheetTable("Views, made by these operations in this order", HEADS, tuple(_operations(recipe))),
    )


def _belongs(name: str, apart: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in apart)


def _operations(recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """A line for each operation of each view; views that are the same and follow each other share theirs."""
    for view, alike in groupby(enumerate(recipe.views), key=lambda numbered: numbered[1]):
        places = [str(i) for i, _ in alike]
        name = places[0] if len(places) == 1 else f"{places[0]}-{places[-1]}"
        for operation in view.operations:
            values = [f"{key} {_rounded(value)}" for key, value in operation if key != "op"]
            yield name, operation.op, ", ".join(values), (inspect.getdoc(operation) or "").partition("\n")[0]


def _rounded(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{_rounded(value[0])} to {_rounded(value[1])}"
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
