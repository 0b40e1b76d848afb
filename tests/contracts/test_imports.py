"""What the packages may not import, seen while they are imported."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from afresh import forget, loaded
from forked import Fork

ROOT = Path(__file__).parents[2]
OPTIONAL = ("detectron2", "numba")
HEAVY = {"torch", "numpy", "pandas", "sklearn", "timm"}
STEPS = """
import contextlib, importlib, io, json, sys
told = {}
for package in ("transferbench", "decorssl"):
    importlib.import_module(package)
    told[package] = ["", 0, sorted({name.partition(".")[0] for name in sys.modules})]
sys.argv[1:] = ["--help"]
for package in ("transferbench", "decorssl"):
    code, shown = 0, io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            importlib.import_module(package + ".cli").main()
    except SystemExit as stop:
        code = stop.code
    told[package + " --help"] = [shown.getvalue(), code, sorted({name.partition(".")[0] for name in sys.modules})]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def steps() -> dict[str, tuple[str, int, list[str]]]:
    """What a new interpreter shows, ends with and has loaded after each of `STEPS`."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge() -> None:
    """Import every module of the judge."""
    forget()
    package = importlib.import_module("transferbench")
    for module in pkgutil.walk_packages(package.__path__, "transferbench."):
        try:
            module.name.endswith("__main__") or importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in OPTIONAL:
                raise
    assert "transferbench.run" in sys.modules
    assert "decorssl" not in loaded()


def test_the_judge_never_imports_the_contestant():
    graph = grimp.build_graph("transferbench", "decorssl", cache_dir=None)
    ours = [name for name in graph.modules if name.partition(".")[0] == "transferbench"]
    assert "transferbench.run" in ours
    assert "transferbench.data" in graph.find_modules_directly_imported_by("decorssl.view_pipeline")
    imported = {other for name in ours for other in graph.find_modules_directly_imported_by(name)}
    assert [name for name in imported if name.partition(".")[0] == "decorssl"] == []


def test_the_judge_never_imports_the_contestant_by_a_name_in_a_string():
    said = [
        f"{path}:{node.lineno}"
        for path in sorted((ROOT / "evaluate").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and re.fullmatch(r"decorssl(\.\w+)*", str(node.value))
    ]
    assert said == []


@pytest.mark.slow
def test_no_module_of_the_judge_loads_the_contestant():
    done = Fork(judge).finish()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["transferbench", "decorssl"])
def test_help_needs_no_torch(package: str, steps: dict[str, tuple[str, int, list[str]]]):
    shown, code, found = steps[f"{package} --help"]
    assert not code
    assert "Usage" in shown
    assert not HEAVY & set(found)


@pytest.mark.parametrize("package", ["transferbench", "decorssl"])
def test_importing_a_package_needs_no_torch(package: str, steps: dict[str, tuple[str, int, list[str]]]):
    found = steps[package][2]
    assert package in found
    assert "torch" not in found


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "common", "misc", "base"}
    sources = [path for folder in ("pretrain", "evaluate") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    assert [str(path) for path in sources if drawers & set(path.relative_to(ROOT).with_suffix("").parts)] == []
