"""What settings there are: the fields of a model and of the models in it, and where a misspelled one belongs."""

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

REQUIRED = object()
"""In the place of the default of a setting that has none."""
NEAR = 0.8
"""How alike a name must be to be suggested: `epoch` and `epochs` are, `foo` and `floor` are not."""

Branches = Mapping[str, type[BaseModel]]
"""The models of those groups of settings that a plugin decides, by their dotted name."""


@dataclass(frozen=True)
class SettingRow:
    """One setting: its dotted name, its type and range, its default (or `REQUIRED`), and what it means."""

    name: str
    kind: str
    default: Any
    meaning: str

    @property
    def leaf(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]


def rows(model: type[BaseModel], branches: Branches | None = None, prefix: str = "") -> list[SettingRow]:
    """Every setting of `model` in the order it is declared in, those of nested groups under their dotted names."""
    every: list[SettingRow] = []
    for name, field in model.model_fields.items():
        inner = (branches or {}).get(prefix + name, field.annotation)
        if _is_model(inner):
            every += rows(inner, branches, f"{prefix}{name}.")
        else:
            default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
            every.append(
                SettingRow(prefix + name, kind(field.annotation, field.metadata), default, meaning(model, name))
            )
    return every


def meaning(model: type[BaseModel], name: str) -> str:
    """The description of a field; where it has none of its own, that of the class which declared it first."""
    declared = (each.model_fields.get(name) for each in model.__mro__ if issubclass(each, BaseModel))
    return next((field.description for field in declared if field and field.description), "")


def shown(value: Any) -> str:
    """A value as `--set` and YAML take it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        case Mapping():
            return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
        case BaseModel():
            return shown(value.model_dump())
        case _:
            return str(value) or '""'


def kind(annotation: Any, constraints: Iterable[Any] = ()) -> str:
    """A type and its range in words: `int >= 1`, `float in [0, 1)`, `a | b`, `list of int`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0], [each for part in inner[1:] for each in _constraints(part)])
    if origin is Literal:
        return " | ".join(map(shown, inner))
    if origin in (Union, types.UnionType):
        parts = [kind(each, constraints) for each in inner if each is not type(None)]
        return " | ".join([*parts, "none"] if type(None) in inner else parts)
    if origin is tuple:
        return _several(inner, constraints)
    if origin is dict:
        return "group"
    if annotation is bool:
        return "true | false"
    return f"{getattr(annotation, '__name__', annotation)}{_range(constraints)}"


def model_at(model: type[BaseModel], location: Sequence[int | str], branches: Branches | None = None) -> Any:
    """The model of the group at `location`, as pydantic names the place of an error; None where there is no group."""
    node: Any = model
    for depth, part in enumerate(location, 1):
        if _is_model(node) and part in node.model_fields:
            dotted = ".".join(map(str, location[:depth]))
            node = (branches or {}).get(dotted, node.model_fields[str(part)].annotation)
        else:
            node = _member(node, part)
    return node if _is_model(node) else None


def suggestion(model: type[BaseModel], location: Sequence[int | str], branches: Branches | None = None) -> str:
    """What to say of a name that does not exist: where it does, or which is near, and all there are at its level."""
    name, group = str(location[-1]), ".".join(map(str, location[:-1]))
    level = model_at(model, location[:-1], branches)
    here = list(level.model_fields) if level else []
    meant = [row.name for row in rows(model, branches) if row.leaf == name]
    meant = meant or difflib.get_close_matches(name, here, n=1, cutoff=NEAR)
    question = f" Did you mean {' or '.join(repr(each) for each in meant[:3])}?" if meant else ""
    names = ", ".join(here) or "none"
    return f"{question} Settings of {group}: {names}." if group else f"{question} Settings: {names}."


def _is_model(node: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(node, type) and issubclass(node, BaseModel)


def _member(node: Any, part: int | str) -> Any:
    """Of a list what its items are, of alternatives the one that `part` is the tag of."""
    inner = [each for each in get_args(node) if each is not type(None)]
    if get_origin(node) is Annotated:
        return _member(inner[0], part)
    if get_origin(node) in (Union, types.UnionType):
        tagged = (each for each in inner if _is_model(each) and _has_tag(each, part))
        return next(tagged, None) if isinstance(part, str) else _member(inner[0], part)
    return inner[0] if isinstance(part, int) and inner else None


def _has_tag(model: type[BaseModel], tag: Any) -> bool:
    return any(tag in get_args(field.annotation) for field in model.model_fields.values())


def _constraints(part: Any) -> list[Any]:
    return part.metadata if isinstance(part, FieldInfo) else [part]


def _several(inner: Sequence[Any], constraints: Iterable[Any]) -> str:
    if len(inner) == 2 and inner[1] is Ellipsis:
        least = next((each.min_length for each in constraints if hasattr(each, "min_length")), 0)
        return f"list of {kind(inner[0])}" + (f", {least} or more" if least else "")
    same = len({kind(each) for each in inner}) == 1
    return f"{len(inner)} x {kind(inner[0])}" if same else " and ".join(map(kind, inner))


def _range(constraints: Iterable[Any]) -> str:
    limits = {
        name: getattr(each, name) for each in constraints for name in ("ge", "gt", "le", "lt") if hasattr(each, name)
    }
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is not None and high is not None:
        return f" in {'[' if 'ge' in limits else '('}{shown(low)}, {shown(high)}{']' if 'le' in limits else ')'}"
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return "".join(f" {signs[name]} {shown(bound)}" for name, bound in limits.items())
