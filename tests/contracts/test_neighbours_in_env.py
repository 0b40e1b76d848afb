"""Hugging Face's `evaluate` and `datasets` can be installed beside this project: stand-ins take their place here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import evaluate, datasets
assert evaluate.MARKER == datasets.MARKER == "theirs", (evaluate.__path__, datasets.__path__)
import transferbench, decorssl, transferbench.settings
assert not hasattr(transferbench, "MARKER")
import evaluate.inner
assert evaluate.inner.MARKER == "theirs"
"""


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
    side = "sys.path.insert(1, path)" if order == "theirs first" else "sys.path.append(path)"
    code = f"import sys; path = {str(stand_ins)!r}; {side}\n{CODE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_importable_file_of_ours_has_their_names():
    taken = [*ROOT.glob("evaluate/*.py"), *ROOT.glob("pretrain/*.py"), *ROOT.glob("*.py")]
    assert taken == []
    for root in (ROOT / "pretrain", ROOT / "evaluate"):
        assert not {path.name.removesuffix(".py") for path in root.iterdir()} & {"evaluate", "datasets"}
