"""The wheel holds everything the programs need, and works where no checkout is."""

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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


def test_the_wheel_has_the_two_commands_and_the_licence(installed: Path):
    (distribution,) = importlib.metadata.distributions(path=[str(installed)])
    scripts = {point.name: point.value for point in distribution.entry_points if point.group == "console_scripts"}
    assert scripts == {"evaluate": "transferbench.cli:main", "pretrain": "decorssl.cli:main"}
    (licence,) = installed.glob("*.dist-info/licenses/LICENSE")
    assert "Apache License" in licence.read_text()


def test_the_wheel_finds_its_files_where_no_checkout_is(installed: Path, tmp_path: Path):
    code = (
        "import decorssl.cli, decorssl.recipe, transferbench.cli, transferbench.suite\n"
        "from transferbench.resources import resource\n"
        f"assert transferbench.__file__.startswith({str(installed)!r}), transferbench.__file__\n"
        f"assert decorssl.__file__.startswith({str(installed)!r}), decorssl.__file__\n"
        "assert callable(transferbench.cli.main) and callable(decorssl.cli.main)\n"
        f"assert str(resource('detectron_configs/README.md')).startswith({str(installed)!r})\n"
        "for name in decorssl.recipe.names(): decorssl.recipe.read(name)\n"
        "for name in transferbench.suite.names(): transferbench.suite.load(name)\n"
        "print(len(decorssl.recipe.names()), len(transferbench.suite.names()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert all(int(count) > 0 for count in done.stdout.split())
