"""A folder is a registry: listed without importing, imported on use, helpful when a name is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from transferbench.errors import UserError
from transferbench.plugins import Registry

BOOBY_TRAP = 'raise RuntimeError("imported")\n'


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A room in a package of its own; two of its files cannot be imported."""
    room = tmp_path / "shelf_for_tests" / "rooms"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").write_text("")
    (room / "__init__.py").write_text("")
    (room / "two_words.py").write_text('"""Two words.\n\nMore."""\n\nVALUE = 2\n')
    (room / "trap.py").write_text('"""A trap."""\n\n' + BOOBY_TRAP)
    (room / "_hidden.py").write_text(BOOBY_TRAP)
    (tmp_path / "package_outside").mkdir()
    (tmp_path / "package_outside" / "plugin.py").write_text("VALUE = 4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry("shelf_for_tests.rooms", "tool")


def test_rooms_are_listed_and_summarized_without_importing_them(registry: Registry):
    assert registry.names() == ["trap", "two_words"]
    assert registry.summary("trap") == "A trap."
    assert not [name for name in sys.modules if name.startswith("shelf_for_tests")]


def test_the_tasks_are_listed_without_torch():
    code = (
        "import sys\nfrom transferbench.plugins import Registry\n"
        "print(*Registry('transferbench.tasks', 'task').names())\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "knn" in done.stdout.split()


def test_a_name_loads_its_file_whichever_dash_it_is_written_with(registry: Registry):
    assert registry.load("two-words").VALUE == 2
    assert registry.load("two-words") is registry.load("two_words")


def test_a_misspelled_name_is_met_with_the_nearest_and_with_all(registry: Registry):
    with pytest.raises(
        UserError, match=r"Unknown tool 'two_wrds'\. Did you mean 'two_words'\? Known: trap, two_words\."
    ):
        registry.load("two_wrds")


@pytest.mark.parametrize("name", ["_hidden", "__init__", "", "no_such_thing_at_all"])
def test_what_is_not_an_entry_is_refused(registry: Registry, name: str):
    with pytest.raises(UserError, match="Unknown tool"):
        registry.load(name)


def test_a_dotted_path_is_a_plugin_from_elsewhere(registry: Registry):
    assert registry.load("package_outside.plugin").VALUE == 4


def test_a_dotted_path_to_nothing_is_an_error_a_person_can_mend(registry: Registry):
    with pytest.raises(UserError, match=r"Cannot import the tool 'package_outside\.missing'"):
        registry.load("package_outside.missing")


def test_a_room_of_a_package_that_is_not_installed_says_so():
    with pytest.raises(UserError, match="nowhere_to_be_found is not installed"):
        Registry("nowhere_to_be_found.rooms", "tool").names()
