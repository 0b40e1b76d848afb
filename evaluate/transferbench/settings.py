"""Frozen, strict settings: read from YAML or JSON, overridden with `a.b=v`, every misfit reported at once."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic
import yaml

from transferbench.errors import UserError, elsewhere, unknown
from transferbench.fields import Branches
from transferbench.misfits import Misfit, explained
from transferbench.origins import SettingsSource


class Settings(pydantic.BaseModel):
    """The base of every configuration: unknown fields are errors and values never change after parsing.

    Where there are `PRESETS`, `preset: NAME` stands for the values of that name, and what is given beside it is laid
    over them. Only values are kept, so the same settings are the same however they were written.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    PRESETS: ClassVar[Mapping[str, Any]] = {}
    SOURCES: ClassVar[Mapping[str, str]] = {}
    """Where each preset's values stand."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "preset" not in values or not cls.PRESETS:
            return values
        given = {key: value for key, value in values.items() if key != "preset"}
        if values["preset"] not in cls.PRESETS:
            raise ValueError(str(unknown("preset", str(values["preset"]), cls.PRESETS)))
        return {**cls.preset_values(values["preset"], given), **given}

    @classmethod
    def preset_values(cls, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of a preset, which may depend on what is `given` beside it."""
        return cls.PRESETS[name]

    @classmethod
    def preset_cases(cls, name: str) -> list[dict[str, Any]]:
        """What has to be given beside a preset, once for each of its sets of values."""
        return [{}]

    @classmethod
    def preset_stated(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of the preset that `given` names; none where it is no preset for these."""
        try:
            return cls.preset_values(given["preset"], given)
        except (KeyError, ValueError):
            return {}

    def preset(self) -> str | None:
        """The names of the presets whose values are all here, and what else differs; None for settings of one's own."""
        given = self.model_dump(include=self.preset_depends_on())
        named: dict[str, list[str]] = {}
        for name in self.PRESETS:
            try:
                pure, stated = type(self)(**{"preset": name, **given}), self.preset_values(name, given)
            except ValueError:
                continue
            changed = [field for field in type(self).model_fields if getattr(self, field) != getattr(pure, field)]
            if not set(changed) & set(stated):
                named.setdefault(", ".join(f"{field}={_short(getattr(self, field))}" for field in changed), []).append(
                    name
                )
        fewest = min(named, key=len, default="")
        return ", ".join([*named[fewest], fewest] if fewest else named[fewest]) if named else None

    @classmethod
    def preset_depends_on(cls) -> set[str]:
        """The settings that choose among a preset's values and are not part of it."""
        return set()


Model = TypeVar("Model", bound=Settings)
MOST_VALUES = 100_000
"""In a settings file: a few lines of aliases can stand for billions."""
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def read(
    model: type[Model],
    source: Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    origin: SettingsSource | None = None,
    branches: Branches | None = None,
) -> Model:
    """Validate `source` (a YAML or JSON file, or a mapping) with `overrides` applied on top.

    Args:
        model: what the settings are of.
        source: the settings as written.
        overrides: `a.b=v`.
        origin: what a mapping was read from, for messages.
        branches: the models of groups that `model` itself takes as they are; they are checked too.

    Raises:
        UserError: with one line for each field that is unknown, missing or out of range.
    """
    overrides = tuple(overrides)
    values = merged(source, overrides)
    misfits: list[Misfit] = []
    instance = _validated(model, values, (), misfits)
    for name, inner in (branches or {}).items():
        _validated(inner, _part(values, name), tuple(name.split(".")), misfits)
    if instance is None or misfits:
        origin = origin or SettingsSource((source,) if isinstance(source, Path) else (), overrides)
        raise UserError(explained(model, misfits, origin, branches or {}))
    return instance


def merged(source: Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The values of `source` with `overrides` applied, not yet validated."""
    values = from_file(source) if isinstance(source, Path) else _copied(source)
    for override in overrides:
        _assign(values, override)
    return values


def from_file(path: Path) -> dict[str, Any]:
    """The mapping a YAML or JSON file holds."""
    if not path.is_file():
        raise UserError(elsewhere(path) or f"No settings file at {path}.")
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else _from_yaml(path, text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as {path.suffix.lstrip('.').upper() or 'YAML'}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} should hold a mapping of settings, found {type(values).__name__}.")
    return values


def _from_yaml(path: Path, text: str) -> Any:
    """What a YAML file holds, unless its aliases, written out, would be more than anyone writes."""
    loader = yaml.SafeLoader(text)
    try:
        top = loader.get_single_node()
        waiting, count = [top], 0
        while waiting and count <= MOST_VALUES:
            node = waiting.pop()
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for each in parts for part in (each if isinstance(each, tuple) else (each,))]
            count += len(parts)
            waiting += parts
        if count > MOST_VALUES:
            raise UserError(f"{path} stands for more than {MOST_VALUES:,} values with its aliases written out.")
        return loader.construct_document(top) if top else None
    finally:
        loader.dispose()


def canonical_json(value: Settings | Mapping[str, Any]) -> str:
    """One text for one value: sorted keys, no spaces. The input of every settings hash."""
    plain = value.model_dump(mode="json") if isinstance(value, Settings) else value
    return CANONICAL.encode(plain)


def sha256(value: Settings | Mapping[str, Any]) -> str:
    """Hex sha256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def parse_override(override: str) -> tuple[list[str], Any]:
    """`"optim.lr=3e-1"` as `(["optim", "lr"], "3e-1")`: the value as YAML reads it, for the field's type to judge."""
    name, equals, value = override.partition("=")
    if not equals or not all(name.split(".")):
        raise UserError(f"--set takes NAME=VALUE, for example optim.lr=0.1; found '{override}'.")
    try:
        return name.split("."), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return name.split("."), value


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _copied(source: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in source.items()}


def _assign(values: dict[str, Any], override: str) -> None:
    path, value = parse_override(override)
    node: Any = values
    for part in path[:-1]:
        node = node.setdefault(part, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UserError(f"--set {override}: '{part}' is not a group of settings.")
    node[path[-1]] = value


def _part(values: Mapping[str, Any], name: str) -> Any:
    """What stands in `values` under a dotted name; nothing where it, or what it is in, is no group."""
    for part in name.split("."):
        values = values.get(part) or {} if isinstance(values, Mapping) else {}
    return values if isinstance(values, Mapping) else {}


def _validated(model: type[Any], values: Any, under: tuple[str, ...], misfits: list[Misfit]) -> Any:
    """The settings, or None with what does not fit added to `misfits`, each at its place below `under`."""
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        misfits += [Misfit((*under, *each["loc"]), each["type"], each["input"], each["msg"]) for each in error.errors()]
        return None
