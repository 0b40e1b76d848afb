"""Tensor names of transformers: files have others than the network has in memory, by a table of the library's own."""

import importlib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, cast

from torch import Tensor, nn


@dataclass(frozen=True)
class FileNames:
    """How a file's names lead to those that the network has in memory, by the library's own table."""

    network: nn.Module
    renamings: tuple[Any, ...] = ()
    converters: tuple[Any, ...] = ()
    wholes: tuple[tuple[Any, ...], ...] = ()
    """Renamings of the larger models that it may be a part of."""

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        """Names in memory, on the meta device."""
        return self.network.state_dict()

    def target(self, name: str) -> tuple[str, str | None]:
        """The name in memory, and the pattern by which it is put together from several or cut, if it is."""
        if name not in self._targets:
            self._targets[name] = self._target(name)
        return self._targets[name]

    @cached_property
    def _targets(self) -> dict[str, tuple[str, str | None]]:
        return {}

    def _target(self, name: str) -> tuple[str, str | None]:
        prefix = str(getattr(self.network, "base_model_prefix", ""))
        loading = _loading()
        if loading is not None:
            expected = cast(Any, self.expected)
            found = loading.rename_source_key(name, list(self.renamings), list(self.converters), prefix, expected)
            if found[0] in self.expected:
                return found
            if name in self.expected:
                return name, None
            others = (loading.rename_source_key(name, list(each), [], prefix, expected) for each in self.wholes)
            return next((other for other in others if other[0] in self.expected), found)
        bare = name.removeprefix(f"{prefix}.") if prefix else name
        return (bare if bare in self.expected else name), None

    def members(self, names: Iterable[str]) -> frozenset[str]:
        """Those of a file's names that lead to a tensor of the network."""
        return frozenset(name for name in names if self.target(name)[0] in self.expected)

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors by names in memory; those that lead nowhere keep their own.

        Raises:
            ValueError: when two lead to the same.
        """
        found: dict[str, Tensor] = {}
        together: dict[str, Any] = {}
        for name in sorted(weights, key=_natural):
            target, pattern = self.target(name)
            if target not in self.expected:
                target, pattern = name, None
            if pattern is None:
                if target in found:
                    raise ValueError(f"two tensors are {target}")
                found[target] = weights[name]
                continue
            origin = next(each for each in self.converters if pattern in each.source_patterns)
            together.setdefault(target, deepcopy(origin)).add_tensor(target, name, pattern, weights[name])
        for target, each in together.items():
            made = each.convert(target, model=self.network, config=cast(Any, self.network).config)
            found |= {name: value[0] if isinstance(value, list) else value for name, value in made.items()}
        return found


@cache
def _loading() -> Any:
    """The library's code that renames a file's tensors; None before version 5, where files have the names in memory."""
    try:
        return importlib.import_module("transformers.core_model_loading")
    except ImportError:
        return None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def file_names(network: nn.Module) -> FileNames:
    """How the names in files of such a network lead to those in memory."""
    loading = _loading()
    if loading is None:
        return FileNames(network)
    tables = importlib.import_module("transformers.conversion_mapping")
    every = tables.get_model_conversion_mapping(cast(Any, network))
    converters = tuple(each for each in every if isinstance(each, loading.WeightConverter))
    whole = (
        tables.get_checkpoint_conversion_mapping(kind) for kind in _relatives(cast(Any, network).config.model_type)
    )
    wholes = tuple(_renamings(loading, each) for each in whole if each)
    return FileNames(network, _renamings(loading, every), converters, wholes)


def _renamings(loading: Any, every: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(each for each in every if isinstance(each, loading.WeightRenaming))


def _relatives(kind: str) -> list[str]:
    """Model types of the same module as one of a part: the larger model that it is of."""
    auto = importlib.import_module("transformers.models.auto.configuration_auto")
    module = auto.model_type_to_module_name(kind)
    return [
        each for each in auto.CONFIG_MAPPING_NAMES if each != kind and auto.model_type_to_module_name(each) == module
    ]
