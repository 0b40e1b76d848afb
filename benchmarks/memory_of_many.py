"""Two checkpoints judged in one call, and twenty: how much memory the process takes at most, and for how long it runs.

    python benchmarks/memory_of_many.py [FILES ...]       # 2 20: three minutes of one core, 2 GB in a temporary folder

ResNet-50 files of our own whose weights differ, on images of 32 pixels, so that weights are what takes memory. Each
call is `evaluate knn FILE ... --data digits --limit 64` in a fresh process with nothing cached. The peak is its
`VmHWM`, with the imports in it.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transferbench import cli
from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Card, Origin
from transferbench.checkpoints.save import save
from transferbench.data.transforms import Preprocess

COUNTS = (2, 20)
ASKED = ("--data", "digits", "--limit", "64", "--workers", "0", "--device", "cpu")


def write(folder: Path, count: int) -> list[str]:
    """As many files: one network whose first filters are scaled, which takes no drawing anew."""
    architecture = complete(Architecture(family="resnet", arguments={"depth": 50}))
    state = build(architecture, seed=1).state_dict()
    paths = [folder / f"network{i}.safetensors" for i in range(count)]
    for i, path in enumerate(paths):
        origin = Origin(method="intl", recipe=path.stem)
        card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=32), origin=origin)
        save(path, {**state, "conv1.weight": state["conv1.weight"] * (1 + i / 100)}, card)
    return list(map(str, paths))


def measure(arguments: list[str]) -> None:
    """`evaluate` with these arguments; the last line says how it ended and its peak in bytes."""
    sys.argv = ["evaluate", *arguments]
    code: object = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    lines = Path("/proc/self/status").read_text().splitlines()
    print(code, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))


def measured(files: list[str], folder: Path) -> tuple[float, int]:
    """Seconds and peak bytes of a call in a process of its own."""
    places = ("--out", str(folder / "out"), "--cache", str(folder / "cache"))
    command = [sys.executable, __file__, "knn", *files, *ASKED, *places]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    code, peak = done.stdout.split("\n")[-2].split()
    assert code == "0", done.stdout + done.stderr
    return time.perf_counter() - begun, int(peak)


def main() -> None:
    counts = [int(each) for each in sys.argv[1:]] or COUNTS
    with tempfile.TemporaryDirectory() as name:
        files = write(Path(name), max(counts))
        first = 0
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                seconds, peak = measured(files[:count], Path(folder))
            first = first or peak
            print(f"{count:3} files  peak {peak / 1e6:6,.0f} MB, {peak / first:.2f} x  {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    if "--data" in sys.argv:
        measure(sys.argv[1:])
    else:
        main()
