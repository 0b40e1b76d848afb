"""Old names still work, warn, and say what took their place."""

import importlib
import sys
from importlib.util import find_spec

import pytest

import decorssl  # with its own old names
from transferbench import renamed

OPTIONAL = ("detectron2", "numba")
ATTRIBUTES = [(module, old, new) for module, pairs in renamed.NAMES.items() for old, new in pairs.items()]


def imported(module: str):
    """The module; skipped where it needs a package that is not here."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"{module} needs {error.name}")


def test_there_are_old_names():
    assert decorssl.MODULES.keys() < renamed.MODULES.keys()
    assert decorssl.NAMES.keys() < renamed.NAMES.keys()


@pytest.mark.parametrize("old", renamed.MODULES)
def test_an_old_module_stands_for_the_new_one(old: str):
    new = imported(renamed.MODULES[old])
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=rf"{old} is now {renamed.MODULES[old]}; .* version 0\.3"):
        former = importlib.import_module(old)
    public = [name for name in vars(new) if not name.startswith("_")]
    assert public
    assert all(getattr(former, name) is getattr(new, name) for name in public)


@pytest.mark.parametrize(("module", "old", "new"), ATTRIBUTES)
def test_an_old_name_stands_for_the_new_one(module: str, old: str, new: str):
    there = imported(module)
    former = [name for name, now in renamed.MODULES.items() if now == module]
    if not former or hasattr(there, "__getattr__"):
        with pytest.warns(DeprecationWarning, match=f"{old} is now {new} in {module}"):
            assert getattr(there, old) is getattr(there, new)
    for name in former:
        if find_spec(name):
            assert getattr(importlib.import_module(name), old) is getattr(there, new)


def test_the_modules_of_a_renamed_package_are_not_read_twice():
    with pytest.warns(DeprecationWarning, match=r"neighbours\.space is now transferbench\.neighbors\.space"):
        former = importlib.import_module("transferbench.neighbours.space")
    assert former.Space is importlib.import_module("transferbench.neighbors.space").Space
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("transferbench.neighbours.never_was")


def test_what_never_was_is_no_old_name():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("transferbench.never_was")
    with pytest.raises(AttributeError, match="never_was"):
        importlib.import_module("transferbench.plugins").never_was  # noqa: B018
