"""The detection recipes that come with the package, by name."""

from pathlib import Path

from transferbench.errors import unknown
from transferbench.resources import resource

FOLDER = "detectron_configs"


def names() -> list[str]:
    """The recipes in `detectron_configs/`."""
    return sorted(each.stem for each in resource(FOLDER).glob("*.yaml") if not each.stem.startswith("Base"))


def file_of(name: str) -> Path:
    """The YAML file of a recipe. Raises UserError when there is none of that name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if not (resource(FOLDER) / f"{name}.yaml").exists():
        raise unknown("recipe", name, names())
    return resource(FOLDER) / f"{name}.yaml"
