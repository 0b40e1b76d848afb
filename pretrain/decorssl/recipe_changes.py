"""What a run's recipe changes of the one that it is called after."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from decorssl import crossing
from decorssl import recipe as recipes
from decorssl.catalog import PROSE, generic_names
from decorssl.recipe import Recipe

OWN = ("data", "split", "image_range")
"""What a generic recipe leaves to whoever uses it."""


def changes(recipe: Recipe) -> list[str]:
    """The settings that differ from those of the package's recipe of this name; none where it has none.

    Prose and the seed do not count, nor what `auto` was decided to be, nor the data of a generic recipe.
    """
    usual = _usual(recipe)
    if usual is None or usual.summary != recipe.summary:
        return []
    now = recipe.model_copy(update={"precision": usual.precision} if usual.precision == "auto" else {})
    left_out = {"seed", *PROSE, *(OWN if _base(recipe) in generic_names() else ())}
    before, after = (each.model_dump(mode="json", exclude=left_out) for each in (usual, now))
    return list(dict.fromkeys(_differing(before, after)))


def described(recipe: Recipe) -> str:
    """The recipe's summary; of one that the run changes, whose recipe it is and what is changed."""
    changed = changes(recipe)
    if not changed:
        return recipe.summary
    return f"{crossing.title(recipe.method)} with the recipe {_base(recipe)}; changed: {', '.join(changed)}"


def name_of(recipe: Recipe) -> str:
    """What its backbone is called: the recipe's name, which says so where the run changes its settings."""
    return f"{recipe.name} (changed)" if changes(recipe) else recipe.name


def _base(recipe: Recipe) -> str:
    """The name of the recipe in the package that it began as; its own where there is none."""
    base = recipe.name.removeprefix(f"{Path(recipe.method).stem}-")
    return base if recipe.name not in recipes.names() and base in (*recipes.names(), *generic_names()) else recipe.name


def _usual(recipe: Recipe) -> Recipe | None:
    """The recipe as the package has it, or crosses it with this method."""
    if recipe.name in recipes.names():
        return recipes.read(recipe.name)
    base = _base(recipe)
    return None if base == recipe.name else crossing.crossed(recipe.method, base)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], under: str = "") -> Iterator[str]:
    """The dotted names of values that differ, as `--set` takes them."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differing(old, new, f"{under}{name}.")
        elif old != new:
            yield f"{under}{name}"
