"""What several test files share: tiny real objects, one thread, a cache that goes away."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

# The import hook that checks shapes is not yet there when this file is read: the packages are imported in the fixtures.
if TYPE_CHECKING:
    from transferbench.checkpoints import Candidate
    from transferbench.data import LabeledImages

pytest_plugins = ["cpu_seconds"]

ROOT = Path(__file__).resolve().parents[1]
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TRANSFERBENCH_CACHE"] = str(ROOT / ".pytest_cache")  # of what reads it when it is imported
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """No test waits for ever, whichever process it waits for: 5 minutes with its fixtures, a slow one 40."""
    limit = 2400 if item.get_closest_marker("slow") else 300

    def over(*_: object) -> None:
        raise TimeoutError(f"{item.nodeid} took more than {limit} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of this test session, in this process and in those it starts."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["TRANSFERBENCH_CACHE"] = str(folder)
    # Machine code outlives a session: compiling it takes longer than most tests.
    (ROOT / ".pytest_cache" / "compiled").mkdir(parents=True, exist_ok=True)
    (folder / "compiled").symlink_to(ROOT / ".pytest_cache" / "compiled")
    return folder


@pytest.fixture
def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[str, ModuleType], Callable[..., tuple[int, str, str]]]:
    """`run_main(name, cli)(*arguments)`: the exit code, stdout and stderr of `cli.main`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def named(name: str, cli: ModuleType) -> Callable[..., tuple[int, str, str]]:
        def call(*arguments: str | Path) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as stop:
                cli.main()
            printed = capsys.readouterr()
            return int(stop.value.code or 0), printed.out, printed.err

        return call

    return named


@pytest.fixture(scope="session")
def machine_code(cache: Path) -> None:
    """Compiled by one of the processes that share out the tests, while the others wait for it."""
    compiled = pytest.importorskip("transferbench.data.compiled")
    with (cache / "compiled" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compiled.compile_once(lambda _: None)


@pytest.fixture(scope="session")
def tiny_images() -> Callable[..., "LabeledImages"]:
    """`tiny_images(n, classes, size, split)`: noise on one color a class, so that there is something to learn."""

    def build(n: int = 32, classes: int = 4, size: int = 16, split: str = "train") -> "LabeledImages":
        from transferbench.data import DatasetInfo, LabeledImages

        generator = np.random.default_rng([n, classes, size, split == "train"])
        colors = np.random.default_rng(0).uniform(40, 215, (classes, 1, 1, 3))
        labels = np.arange(n, dtype=np.int64) % classes
        pixels = (colors[labels] + generator.normal(0, 20, (n, size, size, 3))).clip(0, 255).astype(np.uint8)
        info = DatasetInfo("tiny", tuple(f"class{i}" for i in range(classes)), ("train", "test"), size, "1")
        names = [f"{split}-{i}" for i in range(n)]
        mark = f"{split}-{n}-{classes}-{size}"
        return LabeledImages(info, split, labels, lambda i: Image.fromarray(pixels[i]), names, mark)

    return build


@pytest.fixture
def tiny_candidate() -> "Candidate":
    """A random ResNet-10 of an eighth of the width for images of 16 pixels: 64 features."""
    from transferbench.backbones import Architecture, build, complete
    from transferbench.checkpoints import Candidate, Card, LoadReport, digest
    from transferbench.data.transforms import Preprocess

    arguments = {"depth": 10, "width": 0.125, "stem": "cifar"}
    architecture = complete(Architecture(family="resnet", arguments=arguments))
    backbone = build(architecture, seed=0).eval()
    state = backbone.state_dict()
    count = sum(tensor.numel() for tensor in backbone.parameters())
    return Candidate(
        "tiny",
        backbone,
        Card(architecture=architecture, preprocess=Preprocess(size=None, crop=16)),
        digest(state),
        LoadReport(format="live", matched=len(state), parameters=count),
    )
