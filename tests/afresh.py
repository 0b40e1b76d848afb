"""A fork of the test process that has not imported our packages yet, for what is seen only while they are imported."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("decorssl", "transferbench")


def forget(*names: str) -> None:
    """Drop our packages and those called `names`, and what pytest added to where and how they are imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] in (*OURS, *names)]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("jaxtyping")]
    places = [place for place in sys.path if Path(place) != ROOT]  # where `python -m pytest` looks first
    sys.path[:] = [place for place in places if not Path(place).is_relative_to(ROOT / "tests")]
    importlib.invalidate_caches()


def loaded() -> set[str]:
    """The packages that are imported, by the first part of their names."""
    return {name.partition(".")[0] for name in sys.modules}
