"""The wheel holds everything the programs need, and works where no checkout is."""

import importlib
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from afresh import forget
from forked import Fork

ROOT = Path(__file__).parents[2]
CHECKOUT = (ROOT / "pretrain", ROOT / "evaluate")
pytest.importorskip("hatchling", reason="hatchling is missing: pip install 'transferbench[dev]'")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by its own backend without any network, unpacked as an installer would."""
    out, target = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    code = f"from hatchling.build import build_wheel; build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
    (wheel,) = out.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def files(folder: Path) -> set[str]:
    """The paths of the files below a folder, without what Python caches there."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("pretrain/decorssl", "decorssl"),
        ("evaluate/transferbench", "transferbench"),
        ("detectron_configs", "transferbench/detectron_configs"),
    ],
)
def test_the_wheel_carries_every_file(installed: Path, source: str, place: str):
    assert files(ROOT / source)
    assert files(ROOT / source) <= files(installed / place)


def test_the_wheel_carries_what_the_programs_open_by_name(installed: Path):
    assert (installed / "transferbench/py.typed").is_file()
    assert (installed / "decorssl/py.typed").is_file()
    assert list((installed / "decorssl/recipes").glob("*.yaml"))
    assert list((installed / "transferbench/suites").glob("*.yaml"))
    assert list((installed / "transferbench/detectron_configs").glob("*.yaml"))
    for share, lines in (("1percent", 12_811), ("10percent", 128_116)):
        text = (installed / f"transferbench/data/splits/imagenet_{share}.txt").read_text()
        assert len(text.split()) == lines


def test_the_wheel_puts_nothing_else_on_the_path(installed: Path):
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"decorssl", "transferbench"}


def test_the_wheel_has_the_two_commands_and_the_license(installed: Path):
    (distribution,) = importlib.metadata.distributions(path=[str(installed)])
    scripts = {point.name: point.value for point in distribution.entry_points if point.group == "console_scripts"}
    assert scripts == {"evaluate": "transferbench.cli:main", "pretrain": "decorssl.cli:main"}
    (license,) = installed.glob("*.dist-info/licenses/LICENSE")
    assert "Apache License" in license.read_text()


def test_the_wheel_finds_its_files_where_no_checkout_is(installed: Path, tmp_path: Path):
    def program() -> None:
        forget()
        sys.path[:] = [str(installed), *(place for place in sys.path if Path(place) not in CHECKOUT)]
        names = ("decorssl.cli", "decorssl.recipe", "transferbench.cli", "transferbench.suite")
        pretrain, recipe, evaluate, suite = (importlib.import_module(name) for name in names)
        for module in (pretrain, recipe, evaluate, suite):
            assert Path(module.__file__ or "").is_relative_to(installed), module.__file__
        assert callable(evaluate.main)
        assert callable(pretrain.main)
        resource = importlib.import_module("transferbench.resources").resource
        assert resource("detectron_configs/README.md").is_relative_to(installed)
        assert [recipe.read(name) for name in recipe.names()]
        assert [suite.load(name) for name in suite.names()]

    done = Fork(program, cwd=tmp_path).finish()
    assert done.returncode == 0, done.stderr
