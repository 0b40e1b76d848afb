"""What the packages may not import, seen from a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fresh(code: str) -> str:
    """What a new interpreter prints for `code`; its error output when it fails."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_judge_never_imports_the_contestant():
    loaded = fresh(
        "import importlib, pkgutil, sys, transferbench\n"
        "for module in pkgutil.walk_packages(transferbench.__path__, 'transferbench.'):\n"
        "    try: module.name.endswith('__main__') or importlib.import_module(module.name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        if error.name.partition('.')[0] not in ('detectron2', 'numba'): raise\n"
        "print(*sys.modules)"
    ).split()
    assert "transferbench.run" in loaded
    assert [name for name in loaded if name.split(".")[0] == "decorssl"] == []


@pytest.mark.parametrize("package", ["transferbench", "decorssl"])
def test_help_needs_no_torch(package: str):
    printed = fresh(
        "import sys\n"
        f"from {package}.cli import main\n"
        "sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    shown, _, loaded = printed.partition("LOADED")
    assert "Usage" in shown
    assert not {"torch", "numpy", "pandas", "sklearn", "timm"} & set(loaded.split())


@pytest.mark.parametrize("package", ["transferbench", "decorssl"])
def test_importing_a_package_needs_no_torch(package: str):
    assert "torch" not in fresh(f"import sys, {package}; print(*sys.modules)").split()


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "common", "misc", "base"}
    sources = [path for folder in ("pretrain", "evaluate") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    assert [str(path) for path in sources if drawers & set(path.relative_to(ROOT).with_suffix("").parts)] == []
