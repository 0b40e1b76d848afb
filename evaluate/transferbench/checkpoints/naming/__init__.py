"""Naming schemes: how sources spell a network's tensors. One table serves both ways, to canonical names and back."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from transferbench import plugins

SCHEMES = plugins.Registry("transferbench.checkpoints.naming", "naming scheme")
"""Each file offers `NAMINGS`, a tuple of `Naming` values."""

Weights = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
Source = str | tuple[str, str, str]
Row = tuple[Source, str]
"""The beginning of a name in the source and in canonical names, with `{letters}` for numbers: `{s}`, `{s+1}`, `{2k-2}`.

Three names in the source stand for query, key and value, which are one tensor in canonical names.
"""

_HOLE = re.compile(r"\{(\d*)([a-z])([+-]\d+)?\}")


def _nothing(shapes: Shapes) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Naming:
    """One scheme. A network's prefix is what stands before a name that ends with one of the anchors."""

    name: str
    anchors: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    """The first row that fits a name decides; names that none fits are passed on."""
    adapt: Callable[[Weights], Weights] = dict
    """What is more than a renaming, after it."""
    unused: tuple[str, ...] = ()
    """Patterns of names that the source's own forward pass never reads."""
    own: tuple[str, ...] = ()
    """Names of the network's own tensors that elsewhere are those of what lies beside it."""
    members: Callable[[Iterable[str]], frozenset[str]] | None = None
    """Which names belong to the network, where the rows do not tell."""
    library: str = ""
    """The library whose names the canonical ones are; empty for those of our own families."""
    templates: tuple[str, ...] = ()
    """The library's architectures that networks of the source are, or would be but for their size."""
    is_sized: bool = True
    """Whether networks of the source have other sizes than the templates."""
    channels_of_a_head: int = 64
    """In widths that no template has."""
    proposes: Callable[[Shapes], list[dict[str, Any]]] | None = None
    """In place of templates: arguments of the library's networks that have such canonical names and shapes."""
    tells: Callable[[Shapes], dict[str, Any]] = _nothing
    """Arguments of the library's network that shapes in the source's names tell beside its size, such as heads."""
    recomputed: tuple[str, ...] = ()
    """Patterns of names of what the library's network works out itself."""
    needs: tuple[str, ...] = ()
    """Names that every file of the source has, of what the library's network works out itself."""
    pooling: str = ""
    """How the source pools, where the library's network does otherwise."""
    beside: tuple[tuple[str, str], ...] = ()
    """Patterns of names that the source writes beside the network, each with what they are."""
    below: tuple[tuple[str, str], ...] = ()
    """Patterns of names below the network's prefix that are no part of it, each with what they are."""

    def prefixes(self, names: list[str]) -> list[str]:
        """What stands before the anchors, each once."""
        pattern = re.compile(rf"(?P<prefix>(?:.*\.)?)(?:{'|'.join(self.anchors)})")
        matches = (pattern.fullmatch(name) for name in names)
        return list(dict.fromkeys(match["prefix"] for match in matches if match))

    def rename(self, weights: Weights) -> Weights:
        """From the source's names, without prefix, to canonical ones."""
        renamed: Weights = {}
        parts: dict[str, dict[int, tuple[str, Tensor]]] = {}
        for name, tensor in weights.items():
            target, part = _canonical(self, name)
            if part is None:
                renamed[target] = tensor
            else:
                parts.setdefault(target, {})[part] = name, tensor
        for target, sources in parts.items():
            tensors = [sources[part][1] for part in sorted(sources)]
            if len(tensors) == 3 and len({tuple(tensor.shape) for tensor in tensors}) == 1:
                renamed[target] = torch.cat(tensors)
            else:
                renamed |= dict(sources.values())
        return self.adapt(renamed)

    def knows(self, name: str) -> bool:
        """Whether a row fits a name of the source."""
        return _canonical(self, name)[0] != name

    def spell(self, canonical: str) -> list[str]:
        """A canonical name as the source writes it: one name, or three for query, key and value; `*` for any number."""
        for sources, target in self.rows:
            match = _pattern(target).match(canonical)
            if match and (values := _values(target, match)) is not None:
                every = sources if isinstance(sources, tuple) else (sources,)
                return [_filled(source, values) + canonical[match.end() :] for source in every]
        return [canonical]

    @cached_property
    def ways(self) -> list[tuple[re.Pattern[str], str, str, int | None]]:
        """Every row's pattern in the source, both templates, and which of query, key and value it is."""
        ways: list[tuple[re.Pattern[str], str, str, int | None]] = []
        for sources, target in self.rows:
            if isinstance(sources, str):
                ways.append((_pattern(sources), sources, target, None))
            else:
                ways += [(_pattern(source), source, target, part) for part, source in enumerate(sources)]
        return ways


@cache
def schemes() -> list[Naming]:
    """Every scheme there is."""
    return [naming for _, module in SCHEMES.all() for naming in module.NAMINGS]


@lru_cache(1 << 16)
def _canonical(naming: Naming, name: str) -> tuple[str, int | None]:
    """The canonical name of a source's, and which of query, key and value the tensor is."""
    for pattern, source, target, part in naming.ways:
        match = pattern.match(name)
        if match and (values := _values(source, match)) is not None:
            return _filled(target, values) + name[match.end() :], part
    return name, None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression with one group a hole."""
    pattern, end = "", 0
    for hole in _HOLE.finditer(template):
        pattern += re.escape(template[end : hole.start()]) + r"(\d+)"
        end = hole.end()
    return re.compile(pattern + re.escape(template[end:]))


def _values(template: str, match: re.Match[str]) -> dict[str, int] | None:
    """What the letters of a template stand for in a match; None where the arithmetic does not come out."""
    values: dict[str, int] = {}
    for number, hole in zip(match.groups(), _HOLE.finditer(template), strict=True):
        value, remainder = divmod(int(number) - int(hole[3] or 0), int(hole[1] or 1))
        if remainder or value < 0:
            return None
        values[hole[2]] = value
    return values


def _filled(template: str, values: dict[str, int]) -> str:
    """The template with numbers; `*` for a letter that stands for none."""
    return _HOLE.sub(lambda hole: _number(hole, values), template)


def _number(hole: re.Match[str], values: dict[str, int]) -> str:
    return str(int(hole[1] or 1) * values[hole[2]] + int(hole[3] or 0)) if hole[2] in values else "*"
