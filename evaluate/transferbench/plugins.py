"""A folder is a registry, a file in it is an entry, the file's name is the entry's name."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from transferbench import renamed
from transferbench.errors import UserError, unknown


class Registry:
    """The plugins of one package folder, listed without importing them and imported on use.

    A name with a dot is the import path of a plugin that lives elsewhere.
    """

    def __init__(self, package: str, kind: str) -> None:
        self.package = package
        self.kind = kind

    def names(self) -> list[str]:
        """Every entry's name, in alphabetical order, without importing any."""
        return sorted(path.stem for path in self._folder().glob("*.py") if not path.stem.startswith("_"))

    def load(self, name: str) -> Any:
        """The plugin module called `name` (`-` and `_` are the same here).

        Raises:
            UserError: when there is none, with the nearest name.
        """
        if "." in name:
            return self._outside(name)
        entry = name.replace("-", "_")
        known = not entry.startswith("_") and f"{self.package}.{entry}" in sys.modules
        if not known and entry not in self.names():
            raise unknown(self.kind, name, self.names())
        return importlib.import_module(f"{self.package}.{entry}")

    def all(self) -> Iterator[tuple[str, Any]]:
        """Every entry as (name, module), imported."""
        for name in self.names():
            yield name, self.load(name)

    def summary(self, name: str) -> str:
        """The first line of the entry's docstring, read without importing it."""
        import ast

        tree = ast.parse((self._folder() / f"{name}.py").read_text())
        return (ast.get_docstring(tree) or "").partition("\n")[0]

    def _folder(self) -> Path:
        root, *rest = self.package.split(".")
        found = importlib.util.find_spec(root)
        if found is None or not found.submodule_search_locations:
            raise UserError(f"The package {root} is not installed.")
        return Path(found.submodule_search_locations[0]).joinpath(*rest)

    def _outside(self, name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(f"Cannot import the {self.kind} '{name}': {error}.") from None


__getattr__ = renamed.names_of(__name__)
