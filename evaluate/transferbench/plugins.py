"""A folder is a registry, a file in it is an entry, the file's name is the entry's name.

Code from elsewhere is named as `package.module` or `path/file.py`, and only by a person: on the command line, or in a
recipe or suite file that it names. A name that comes out of a checkpoint, record, archive or data set imports nothing
but the registry's own entries and what a person has named before in the same process.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from transferbench import renamed
from transferbench.errors import UserError, unknown

DATA = (
    *(".pth", ".pt", ".ckpt", ".bin", ".pkl", ".h5", ".onnx", ".safetensors", ".npz", ".npy", ".parquet"),
    *(".tar", ".gz", ".tgz", ".zip", ".csv", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".md", ".html"),
    *(".png", ".jpg", ".jpeg", ".pdf"),
)
"""How files end that are never code."""
_NAMED: dict[tuple[str, str], ModuleType] = {}
"""What a person has named from elsewhere, by package of the registry and name; "" is for all registries."""


def is_outside(name: str) -> bool:
    """Whether a name can only mean code from elsewhere: `package.module` or `path/file.py`, and no other file."""
    path = Path(name)
    if path.suffix == ".py":
        return True
    return all(part.isidentifier() for part in name.split(".")) and "." in name and not _is_data(path)


def _is_data(path: Path) -> bool:
    return path.suffix.lower() in DATA or path.exists()


def beside(name: str, folder: Path) -> str:
    """The name that a file in `folder` uses: a `.py` file is looked for beside it first."""
    here = folder / name
    return str(here) if name.endswith(".py") and here.is_file() else name


def recorded(name: str) -> str:
    """The name that records hold: of a file its name alone, wherever it lies."""
    return Path(name).name if name.endswith(".py") else name


class Registry:
    """The plugins of one package folder, listed without importing them and imported on use."""

    def __init__(self, package: str, kind: str, defines: Sequence[str] = ()) -> None:
        """`defines`: the names that code from elsewhere must define to be of this kind."""
        self.package = package
        self.kind = kind
        self.defines = defines

    def names(self) -> list[str]:
        """Every entry's name, in alphabetical order, without importing any."""
        return sorted(path.stem for path in self._folder().glob("*.py") if not path.stem.startswith("_"))

    def load(self, name: str) -> Any:
        """The plugin called `name` by a person: an entry (`-` and `_` are the same here) or code from elsewhere.

        Raises:
            UserError: when there is none, with the nearest name, why it cannot be imported, or what it lacks.
        """
        if is_outside(name):
            if (self.package, name) not in _NAMED or not name.endswith(".py"):
                _NAMED[self.package, name] = self._complete(name, _imported(name, self.kind))
            return _NAMED[self.package, name]
        return self._entry(name)

    def registered(self, name: str) -> Any:
        """The plugin called `name` by a file: nothing from elsewhere is imported for it.

        Raises:
            UserError: when there is none, or it is code from elsewhere that no person has named in this process.
        """
        self.require_known(name)
        module = _NAMED.get((self.package, name))
        if module is None and (own := _allowed_as(name)):
            module = self._complete(name, _NAMED["", own])
        return module or self._entry(name)

    def require_known(self, name: str) -> None:
        """Refuse, by a UserError, code from elsewhere that a file names and no person has named in this process."""
        if is_outside(name) and not self.has(name):
            raise UserError(
                f"A file names the {self.kind} '{name}', which is code from elsewhere: it is not imported because a "
                f"file says so. If you trust it, name it on the command line too: --code {name}"
            )

    def has(self, name: str) -> bool:
        """Whether `registered` finds the name."""
        return self.named(name) is not None or name.replace("-", "_") in self.names()

    def named(self, name: str) -> str | None:
        """The name under which a person has named what a file calls `name`; None where nobody has."""
        return name if (self.package, name) in _NAMED else _allowed_as(name)

    def _entry(self, name: str) -> Any:
        entry = name.replace("-", "_")
        known = entry.isidentifier() and not entry.startswith("_") and f"{self.package}.{entry}" in sys.modules
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
        spec = importlib.util.find_spec(root)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"The package {root} is not installed.")
        return Path(spec.submodule_search_locations[0]).joinpath(*rest)

    def _complete(self, name: str, module: ModuleType) -> ModuleType:
        """The module, which defines all that this kind of plugin must."""
        if missing := [each for each in self.defines if not hasattr(module, each)]:
            raise UserError(f"'{name}' is not a {self.kind}: {module.__file__} does not define {', '.join(missing)}.")
        return module


def allow(name: str) -> None:
    """Import code from elsewhere that a person names, of whatever kind: from now on files may name it.

    Args:
        name: `package.module` or `path/file.py`; records and checkpoints may name that file without its folder.

    Raises:
        UserError: when it is no such name, or why it cannot be imported.
    """
    if not is_outside(name):
        raise UserError(f"'{name}' is no code from elsewhere. Expected package.module or path/file.py.")
    _NAMED["", name] = _imported(name, "code")


def _allowed_as(name: str) -> str | None:
    """Under which name `allow` has imported this, or of a file the one without the folder; None where it has not."""
    every = [own for package, own in _NAMED if not package and is_outside(name)]
    same_file = (own for own in every if name.endswith(".py") and recorded(own) == recorded(name))
    return name if name in every else next(same_file, None)


def _imported(name: str, kind: str) -> ModuleType:
    try:
        return _from_file(Path(name)) if name.endswith(".py") else _from_path(name)
    except (Exception, SystemExit) as error:  # a script parses its command line, or ends itself
        raise UserError(f"Cannot import the {kind} '{name}': {_reason(error)}") from None


def _from_path(name: str) -> ModuleType:
    """A module by its import path, the current folder included."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """A file as a module under a name of its own, so that two files of one name do not meet."""
    whole = path.expanduser().resolve(strict=True)
    name = f"_plugin_{hashlib.sha256(str(whole).encode()).hexdigest()[:16]}_{whole.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise ImportError(f"{whole} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reason(error: BaseException) -> str:
    """What an import raised and where, in a line."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})."
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<frozen")]
    own = [each for each in frames if each.filename not in (__file__, importlib.__file__)]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}."


__getattr__ = renamed.names_of(__name__)
