"""Read a recipe: Detectron2's YAML with its base files and `KEY VALUE` overrides, strictly."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from transferbench import settings
from transferbench.detection.recipe import variants
from transferbench.detection.recipe.keys import ModelKeys
from transferbench.detection.recipe.schedule_keys import DatasetKeys, InputKeys, LoaderKeys, SolverKeys, TestKeys
from transferbench.errors import UserError
from transferbench.origins import SettingsSource
from transferbench.settings import Settings

BASE = "_BASE_"
HINT = "These are the keys and values of Detectron2 that this backend honors; it ignores none."


class DetectionRecipe(Settings):
    """What Detectron2's configuration says, key by key; what is not written has Detectron2's default."""

    VERSION: Literal[2] = Field(default=2, description="of Detectron2's own format")
    MODEL: ModelKeys = ModelKeys()
    INPUT: InputKeys
    DATASETS: DatasetKeys = DatasetKeys()
    DATALOADER: LoaderKeys = LoaderKeys()
    SOLVER: SolverKeys = SolverKeys()
    TEST: TestKeys = TestKeys()


def read(path: Path, overrides: Sequence[str] = ()) -> DetectionRecipe:
    """The recipe in a file, with `overrides` as Detectron2's command line takes them: KEY VALUE KEY VALUE ...

    Raises:
        UserError: with one line for each key that is unknown, not honored or out of range.
    """
    values, pairs = with_bases(path), _pairs(overrides)
    for key, value in pairs:
        _lay(values, _nested(key.split("."), value))
    origin = SettingsSource(tuple(chain(path)), tuple(f"{key}={value}" for key, value in pairs))
    try:
        recipe = settings.read(DetectionRecipe, {"INPUT": {}} | _parsed(values), origin=origin)
        variants.check(recipe.MODEL)
    except UserError as error:
        raise UserError(f"{path}: {error}\n{HINT}") from None
    return recipe


def with_bases(path: Path) -> dict[str, Any]:
    """What a file says, laid over what the file it names as `_BASE_` says, and so on down."""
    values: dict[str, Any] = {}
    for written in reversed(chain(path).values()):
        _lay(values, written)
    values.pop(BASE, None)
    return values


def chain(path: Path) -> dict[Path, dict[str, Any]]:
    """What a file says, what the file says that it names as `_BASE_`, and so on down."""
    files: dict[Path, dict[str, Any]] = {}
    step: Path | None = path.resolve()
    while step is not None:
        if step in files:
            raise UserError(f"{step} is its own {BASE}, through {', '.join(each.name for each in files)}.")
        if files and not step.is_file():
            raise UserError(f"{list(files)[-1]}: there is no {step}, which it names as its {BASE}.")
        files[step] = settings.from_file(step)
        base = files[step].get(BASE)
        if not isinstance(base, str | None):
            raise UserError(f"{step}: {BASE} should be the path of one file; found {base!r}.")
        step = None if base is None else (step.parent / Path(base).expanduser()).resolve()
    return files


def _lay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Write `above` over `below`, group by group."""
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _lay(below[key], value)
        else:
            below[key] = value


def _pairs(overrides: Sequence[str]) -> list[tuple[str, str]]:
    if len(overrides) % 2:
        raise UserError(f"Overrides are pairs, KEY VALUE; found {len(overrides)} words, the last '{overrides[-1]}'.")
    return list(zip(overrides[::2], overrides[1::2], strict=True))


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    return {parts[0]: value if len(parts) == 1 else _nested(parts[1:], value)}


def _parsed(value: Any) -> Any:
    """Text as the Python literal it spells, where it spells one: Detectron2's files hold tuples so."""
    if isinstance(value, Mapping):
        return {key: _parsed(each) for key, each in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last for deep brackets
        return value
