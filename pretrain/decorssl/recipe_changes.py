"""What a run's recipe changes of the one that it is called after."""

from collections.abc import Iterator, Mapping
from typing import Any

from decorssl import recipe as recipes
from decorssl.catalog import PROSE
from decorssl.recipe import Recipe


def changes(recipe: Recipe) -> list[str]:
    """The settings that differ from those of the package's recipe of this name; none where it has none.

    Prose and the seed do not count, nor what `auto` was decided to be.
    """
    if recipe.name not in recipes.names():
        return []
    published = recipes.read(recipe.name)
    if published.summary != recipe.summary:
        return []
    now = recipe.model_copy(update={"precision": published.precision} if published.precision == "auto" else {})
    before, after = (each.model_dump(mode="json", exclude={"seed", *PROSE}) for each in (published, now))
    return list(dict.fromkeys(_differing(before, after)))


def described(recipe: Recipe) -> str:
    """The recipe's summary, with what the run changes."""
    changed = changes(recipe)
    return f"{recipe.summary}; changed: {', '.join(changed)}" if changed else recipe.summary


def name_of(recipe: Recipe) -> str:
    """What its backbone is called: the recipe's name, which says so where the run changes its settings."""
    return f"{recipe.name} (changed)" if changes(recipe) else recipe.name


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], under: str = "") -> Iterator[str]:
    """The dotted names of values that differ, as `--set` takes them."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differing(old, new, f"{under}{name}.")
        elif old != new:
            yield f"{under}{name}"
