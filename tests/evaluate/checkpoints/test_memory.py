"""A checkpoint with an optimizer's state takes the memory of its network, not of the file."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from transferbench.checkpoints.load import load

PLACE = Path(__file__).resolve().parents[3] / "benchmarks/large_checkpoint.py"
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc tells a process's peak")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("large_checkpoint", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_a_process_that_loads_a_large_file_stays_smaller_than_it(
    zipped: bool, benchmark: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "file.pth"
    benchmark.write(path, depth=18, hidden=2048, zipped=zipped)
    size = path.stat().st_size
    assert size > 200e6
    _, growth = benchmark.measured("load", path)
    assert growth < 0.75 * size


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_not_the_network_takes_no_memory(zipped: bool, benchmark: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    benchmark.write(path, depth=10, hidden=2048, zipped=zipped)
    size = path.stat().st_size
    network = 4 * load(path).report.parameters
    _, growth = benchmark.peak(lambda: load(path))
    assert size > 8 * network
    assert growth < 3 * network


@pytest.mark.parametrize("zipped", [True, False])
def test_the_file_of_the_benchmark_is_what_it_says(zipped: bool, benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.write(tmp_path / "file.pth", depth=10, hidden=8, zipped=zipped)
    found = load(tmp_path / "file.pth")
    assert found.report.format == "vicreg"
    assert found.report.dropped.keys() == {"projector"}
