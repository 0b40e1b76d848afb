"""What comes with the package, found without importing torch: methods, recipes and studies, by their files."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferbench import settings
from transferbench.errors import UserError, unknown
from transferbench.plugins import Registry, beside

METHODS = Registry("decorssl.methods", "method", ("Config", "routes", "modules", "check", "loss"))
RECIPES = Path(__file__).parent / "recipes"
STUDIES = Path(__file__).parent / "studies"

DATA = "digits"
"""What a recipe pretrains on that names no data set."""
PROSE = ("name", "summary", "targets")
"""The fields of a recipe that decide nothing."""


def generic_names() -> list[str]:
    """The recipes that come with the package for every method, by the size of their images."""
    return sorted(path.stem for path in (RECIPES / "generic").glob("*.yaml"))


def study_names() -> list[str]:
    """The studies that come with the package."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def recipe_names(method: str | None = None) -> list[str]:
    """The recipes that come with the package, those of one method or all."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml") if method is None or path.stem.split("-")[0] == method)


def recipe_file(source: str | Path) -> Path:
    """The file of a recipe by its name, or the file itself. Raises UserError when there is none of that name."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml", ".json"):
        folder = RECIPES / "generic" if str(source) in generic_names() else RECIPES
        path = folder / f"{source}.yaml"
        if not path.is_file():
            raise unknown("recipe", str(source), [*recipe_names(), *generic_names()])
    return path


def recipe_values(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """What a recipe file says, over what the recipe it names as its `base` says; and the files, topmost first.

    Prose is not taken over, nor are the settings of another method.
    """
    written = settings.from_file(path)
    if "about" in written and path.suffix != ".json":
        warnings.warn(f"{path}: `about` has been renamed `summary`; the old name still works.", FutureWarning, 2)
    values = with_summary(written)
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
        lower = recipe_file(base)
    except UserError as error:
        raise UserError(f"{path}, base: {error}") from None
    under, files = recipe_values(lower, (*above, path))
    own = PROSE if values.get("method", under.get("method")) == under.get("method") else (*PROSE, "settings")
    return _laid_over({name: value for name, value in under.items() if name not in own}, values), (path, *files)


def with_summary(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the summary under its name, which was `about` before."""
    if "about" not in values:
        return dict(values)
    return {"summary": values["about"], **{name: value for name, value in values.items() if name != "about"}}


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, all else (lists too) is replaced."""
    both = {
        name: _laid_over(under[name], value) if isinstance(value, dict) and isinstance(under.get(name), dict) else value
        for name, value in over.items()
    }
    return {**under, **both}
