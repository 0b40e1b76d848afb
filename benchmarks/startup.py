"""What commands cost before their work begins: CPU seconds against `import torch`, each in a process of its own.

    python benchmarks/startup.py             # medians of 5; about four minutes on one core
    python benchmarks/startup.py 9 inspect   # medians of 9, of the commands that hold the word

In each round every command runs once, and `import torch` before every third of them; a ratio is that of two medians.
CPU seconds are those of the process and its children, user and system. `knn` ends where the first image would be read.
The first round is not counted: it fills the disk cache and compiles bytecode.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TORCH = "import torch"
JUDGE = "from transferbench.cli import main; main()"
CONTESTANT = "from decorssl.cli import main; main()"
FIRST_IMAGE = 77
"""The exit code of a command that was stopped where it would have read its first image."""
TO_THE_FIRST_IMAGE = f"""
import os
from transferbench.data.labeled_images import LabeledImages
LabeledImages.image = LabeledImages.pixels = lambda *_: os._exit({FIRST_IMAGE})
{JUDGE}
"""
NETWORKS = {
    "resnet": {"depth": 18, "width": 0.25, "stem": "cifar"},
    "vit": {"image_size": 32, "patch_size": 4, "dim": 48, "depth": 3, "heads": 3},
    "swin": {"image_size": 32, "patch_size": 2, "dim": 12, "depths": (1, 1), "heads": (1, 2), "window": 4},
}
LIST, CHECK, INSPECT, KNN = 0.35, 1.22, 1.6, 2.6
"""What a command of each kind may cost, in imports of torch."""
COMMANDS: dict[str, tuple[str, int, float]] = {
    "evaluate ls": (JUDGE, 0, LIST),
    "evaluate ls suites": (JUDGE, 0, LIST),
    "evaluate ls data": (JUDGE, 0, LIST),
    "pretrain ls": (CONTESTANT, 0, LIST),
    "evaluate published": (JUDGE, 0, LIST),
    "evaluate ls dta": (JUDGE, 2, LIST),
    "evaluate knnn": (JUDGE, 2, LIST),
    "evaluate show knnn": (JUDGE, 2, LIST),
    "evaluate all resnet.safetensors --suite quik": (JUDGE, 2, LIST),
    "evaluate all resnet.safetensors --data digts": (JUDGE, 2, LIST),
    "pretrain itnl": (CONTESTANT, 2, LIST),
    "evaluate show knn": (JUDGE, 0, CHECK),
    "evaluate show quick": (JUDGE, 0, CHECK),
    "pretrain show intl": (CONTESTANT, 0, CHECK),
    "evaluate knn resnet.safetensors --set knn.kk=5": (JUDGE, 2, CHECK),
    "pretrain intl --set epoch=5": (CONTESTANT, 2, CHECK),
    **{f"evaluate inspect {name}.safetensors": (JUDGE, 0, INSPECT) for name in NETWORKS},
    "evaluate knn resnet.safetensors --workers 0 --cache cache": (TO_THE_FIRST_IMAGE, FIRST_IMAGE, KNN),
}


def seconds(code: str, words: list[str], folder: Path, expected: int) -> float:
    """CPU seconds of a new interpreter that runs `code`, which has to end with the `expected` exit code."""
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True)
    after = os.times()
    if done.returncode != expected:
        raise SystemExit(f"{words} ended with {done.returncode}, expected {expected}:\n{done.stdout}{done.stderr}")
    return after.children_user + after.children_system - before.children_user - before.children_system


def write_networks(folder: Path) -> None:
    """One small random network of each of our families, as a checkpoint of our own."""
    from transferbench.backbones import Architecture, build
    from transferbench.checkpoints import Card
    from transferbench.checkpoints.save import save
    from transferbench.data.transforms import Preprocess

    for family, arguments in NETWORKS.items():
        backbone = build(Architecture(family=family, arguments=arguments))
        card = Card(architecture=backbone.architecture, preprocess=Preprocess(size=None, crop=32))
        save(folder / f"{family}.safetensors", backbone.state_dict(), card)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    chosen = {name: each for name, each in COMMANDS.items() if all(word in name for word in sys.argv[2:])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_networks(folder)
        torch: list[float] = []
        spent: dict[str, list[float]] = {command: [] for command in chosen}
        for number in range(rounds + 1):
            for place, (command, (code, expected, _)) in enumerate(chosen.items()):
                base = [seconds(TORCH, [], folder, 0)] if place % 3 == 0 else []
                own = seconds(code, command.split()[1:], folder, expected)
                if number:
                    torch += base
                    spent[command].append(own)
            told = {command: times[-1] for command, times in spent.items() if times}
            print(f"round {number} of {rounds}: {told}", file=sys.stderr, flush=True)
    unit = statistics.median(torch)
    print(f"{TORCH}: {unit:.2f} CPU s, median of {len(torch)}; commands: medians of {rounds}")
    for command, times in spent.items():
        limit, own = COMMANDS[command][2], statistics.median(times)
        mark = "" if own <= limit * unit else "  OVER"
        print(f"{command:58} {own:6.2f} s  {own / unit:5.2f}x  of at most {limit:.2f}x{mark}")


if __name__ == "__main__":
    main()
