"""Hugging Face's `evaluate` and `datasets` can be installed beside this project: stand-ins take their place here."""

import importlib
import sys
from pathlib import Path

import pytest
from afresh import forget
from forked import Fork

ROOT = Path(__file__).parents[2]


def side_by_side() -> None:
    theirs = [importlib.import_module(name) for name in ("evaluate", "datasets")]
    assert [each.MARKER for each in theirs] == ["theirs"] * 2, [each.__path__ for each in theirs]
    ours = [importlib.import_module(name) for name in ("transferbench", "decorssl", "transferbench.settings")]
    assert not any(hasattr(each, "MARKER") for each in ours)
    assert importlib.import_module("evaluate.inner").MARKER == "theirs"


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A folder with packages called `evaluate` and `datasets`, as an installation of theirs would leave it."""
    for name in ("evaluate", "datasets"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('MARKER = "theirs"\n')
        (tmp_path / name / "inner.py").write_text('MARKER = "theirs"\n')
    return tmp_path


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
@pytest.mark.parametrize(
    "folder", [ROOT, ROOT / "evaluate", Path("/")], ids=["the repository", "evaluate", "elsewhere"]
)
def test_theirs_and_ours_are_imported_side_by_side(stand_ins: Path, folder: Path, order: str):
    def program() -> None:
        forget("evaluate", "datasets")
        sys.path.insert(0, "")  # the current folder, where a program's own is
        sys.path.insert(1 if order == "theirs first" else len(sys.path), str(stand_ins))
        side_by_side()

    done = Fork(program, cwd=folder).finish()
    assert done.returncode == 0, done.stderr


def test_no_importable_file_of_ours_has_their_names():
    taken = [*ROOT.glob("evaluate/*.py"), *ROOT.glob("pretrain/*.py"), *ROOT.glob("*.py")]
    assert taken == []
    for root in (ROOT / "pretrain", ROOT / "evaluate"):
        assert not {path.name.removesuffix(".py") for path in root.iterdir()} & {"evaluate", "datasets"}
