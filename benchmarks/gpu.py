r"""Everything that waits for a GPU, measured in one go on an NVIDIA GPU, in eight minutes at the most.

    python benchmarks/gpu.py --data DATA --out gpu.json     # DATA: a folder with CIFAR-10's parquet files
    python benchmarks/gpu.py ... --resume                   # only the parts that gpu.json does not hold finished
    python benchmarks/gpu.py ... --parts losses,neighbors   # only these
    python benchmarks/gpu.py --smoke --out smoke.json       # on the CPU, tiny sizes, two minutes: it measures nothing
    python benchmarks/gpu.py --table results/gpu/gpu.json   # writes README.md beside it

Parts, cheapest first (`benchmarks/gpu_parts.py`): limits (bytes copied and matrix products a second), losses
(whitening losses against the plain formulas), neighbors (exact k-NN), step32, extraction, step224, detection, memory
(peak and the largest batch), graph32 and graph224 (a whole step as one CUDA graph), compile32 and compile224
(`torch.compile`), and train: `intl-cifar10-fast` in the time that is left, with k-NN after each epoch. Each is a
process of its own, so that one which fails or hangs takes nothing with it, and has a time limit, which grows with
--seconds. gpu.json is written anew, in one stroke, with every number. SIGTERM ends all with what is there. A part that
fails is written down with its error, and the others go on; the exit code is then 1.

A number is of the median of `n` runs after two that are not counted, and the device has finished before the clock is
started and before it is stopped. Each part notes device, driver, versions, commit and machine.

How near an extraction comes to the memory's limit cannot be told without hardware counters. Given instead: the bytes
of input, output and weights of every layer, each counted once, over seconds and over the bytes a second of a copy on
the same device in the same process. A layer whose input is still in the cache reads less, sums and attention within a
block are left out, and a network of large matrix products is limited by these (`tflops` in the file).

To a machine without a network travel, in .gpu/wheels and .gpu/data, wheels and CIFAR-10's two parquet files (53.0
MiB). Wheels for Python 3.12 on x86-64, in MiB: pydantic 0.5, pydantic-core 2.2, annotated-types and typing-inspection
0.03, pycocotools 0.4; together 3.1. Beside torch 2.11 and torchvision 0.26 that machine then has to have pyyaml,
jaxtyping, safetensors, timm (for the ViT), scikit-learn (for detection) and pyarrow (for the parquet files). Where it
has not, their wheels are, with what they need, another 0.8, 0.1, 0.5, 8.3, 43 and 52.5, and data and pyarrow alone are
more than 64 MiB. A part that lacks something fails alone; FAISS is measured where it is. A checkout without tests, by
`git sparse-checkout set pretrain evaluate benchmarks detectron_configs results`, has 5.7 MiB (with them 15.3), so 61.8
travel. Then, with COMMIT as `git rev-parse HEAD` says it, and an earlier gpu.json in .gpu if its finished parts are
not to be run again:

    python3 -m pip install -q --no-index --no-deps --find-links .gpu/wheels --target /tmp/gpu-site \
      pydantic pydantic-core annotated-types typing-inspection pycocotools && mkdir -p "$OUT" &&
      { cp .gpu/gpu.json "$OUT" 2>/dev/null || true; } &&
      PYTHONPATH=/tmp/gpu-site:pretrain:evaluate PYTHONUNBUFFERED=1 python3 benchmarks/gpu.py --data .gpu/data \
      --out "$OUT/gpu.json" --resume --seconds 480 --commit COMMIT
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from gpu_parts import PARTS, Ask, Part
from gpu_table import markdown

from decorssl import compiling
from transferbench import runtime, state

SECONDS, SMOKE_SECONDS, SMOKE_LIMIT = 480.0, 110.0, 25.0
"""For everything; in a smoke run, for everything and for a part. Limits of parts grow with --seconds."""
RESERVE = 3.0
"""Seconds left for ending."""
UNDER_WAY = "under way when this was written"
FORK = multiprocessing.get_context("fork")
"""A part begins with everything imported; the process that starts parts never touches the device."""


@dataclass
class Book:
    """gpu.json, written with every change."""

    path: Path
    smoke: bool
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, name: str, entry: dict[str, Any]) -> None:
        """Write a part down. What was found before stays until it is finished or has found as much."""
        before = self.parts.get(name)
        if not before or entry["state"] == "finished" or len(entry["rows"]) >= len(before["rows"]):
            self.parts[name] = entry
        state.write_json(self.path, {"smoke": self.smoke, "parts": self.parts})

    def is_finished(self, name: str) -> bool:
        return name in self.parts and self.parts[name]["state"] == "finished"


class Stop:
    """The first signal that asked for an end; 0 for none."""

    number = 0

    def __call__(self, number: int, frame: object) -> None:
        self.number = self.number or number


def opened(path: Path, smoke: bool, resume: bool) -> Book:
    """The book to go on with.

    Raises:
        SystemExit: for one that is there and not to be resumed, or is of the other kind.
    """
    if not path.exists():
        return Book(path, smoke)
    if not resume:
        raise SystemExit(f"{path} is there. Add --resume to measure what it lacks, or name another file with --out.")
    document = json.loads(path.read_text())
    if document["smoke"] != smoke:
        raise SystemExit(f"{path} is of {'a smoke run' if document['smoke'] else 'a measurement'}. Name another --out.")
    return Book(path, smoke, document["parts"])


def facts(ask: Ask) -> dict[str, Any]:
    """What a number depends on: versions, commit, machine, device, driver."""
    device, known = ask.device, runtime.environment()
    is_cuda = device.type == "cuda"
    return {
        **known,
        "commit": known["commit"] or ask.commit,
        "device": torch.cuda.get_device_name(device) if is_cuda else "CPU",
        "memory": torch.cuda.get_device_properties(device).total_memory if is_cuda else None,
        "driver": driver() if is_cuda else None,
        "cuda": torch.version.cuda if is_cuda else None,
        "cudnn": torch.backends.cudnn.version() if is_cuda else None,
    }


def has_gpu() -> bool:
    """Whether torch sees one; asked in a process of its own, since what uses a GPU cannot fork any more."""
    with FORK.Pool(1) as pool:
        return pool.apply(torch.cuda.is_available)


def driver() -> str | None:
    """The version of NVIDIA's driver; None where nothing tells it."""
    if not (program := shutil.which("nvidia-smi")):
        return None
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip().partition("\n")[0] or None


def measured(part: Part, ask: Ask, out: Any) -> None:
    """In a process of its own: what the part finds, or how it failed."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        out.send(("machine", facts(ask)))
        for row in part.work(ask):
            out.send(("row", asdict(row)))
        out.send(("finished", ""))
    except Exception as error:
        text = str(error).strip()
        out.send(("failed", f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"))
        raise


def attend(name: str, ask: Ask, most: float, book: Book, stop: Stop) -> str:
    """Run a part until its end, its limit or a signal, and write down what it finds; how it ended."""
    entry: dict[str, Any] = {"state": "unfinished", "why": UNDER_WAY, "seconds": 0.0, "machine": None, "rows": []}
    begun = time.monotonic()
    book.put(name, entry)
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=measured, args=(PARTS[name], ask, sender))
    child.start()
    sender.close()
    try:
        while entry["why"] == UNDER_WAY:
            if stop.number:
                entry["why"] = f"ended by {signal.Signals(stop.number).name}"
            elif (spent := time.monotonic() - begun) > most:
                entry["why"] = f"ended after {spent:.0f} s, for no more time was left to it"
            elif receiver.poll(0.1):
                heard(name, receiver, entry)
                entry["seconds"] = time.monotonic() - begun
                book.put(name, entry)
    finally:
        ended(child)
        entry["seconds"] = time.monotonic() - begun
        book.put(name, entry)
    print(f"{name}: {entry['state']} {entry['why']} ({entry['seconds']:.1f} s)", flush=True)
    return entry["state"]


def received(receiver: Any) -> tuple[str, Any]:
    with suppress(EOFError):
        return receiver.recv()
    return "failed", "its process died"


def heard(name: str, receiver: Any, entry: dict[str, Any]) -> None:
    """What a part says."""
    kind, value = received(receiver)
    if kind == "row":
        entry["rows"].append(value)
        number = "none" if value["value"] is None else f"{value['value']:.5g} {value['unit']}"
        print(f"{name}: {value['what']}: {number} (n={value['n']}; {value['timed']})", flush=True)
    elif kind == "machine":
        entry["machine"] = value
    else:
        entry.update(state=kind, why=value)


def ended(child: Any) -> None:
    """The part's process and those that it started are gone."""
    child.join(1.0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.join()


def limit(name: str, smoke: bool, seconds: float) -> float:
    """Seconds that a part has at most, if so many are for everything."""
    return SMOKE_LIMIT * seconds / SMOKE_SECONDS if smoke else PARTS[name].limit * seconds / SECONDS


def run(book: Book, names: Sequence[str], ask: Ask, seconds: float) -> int:
    """All parts in turn; 0, 1 where one failed, or 128 and the number of the signal that ended it."""
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    until, states = time.monotonic() + seconds - RESERVE, list[str]()
    for name in names:
        left = until - time.monotonic()
        if not stop.number and left > 0 and not book.is_finished(name):
            states.append(attend(name, ask, min(limit(name, ask.smoke, seconds), left), book, stop))
    if stop.number:
        return 128 + stop.number
    return int("failed" in states)


def show(path: Path) -> None:
    """Write the page beside the file; one without numbers where there is none."""
    document = json.loads(path.read_text()) if path.exists() else None
    state.write(path.with_name("README.md"), markdown(document, list(PARTS)))


def chosen(text: str) -> list[str]:
    """Parts by name, in their order."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}. There are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add: Callable[..., Any] = parser.add_argument
    add("--out", type=Path, default=Path("gpu.json"), help="what is written; gpu.json")
    add("--data", help="folder with CIFAR-10's parquet files; without it a smoke run trains on digits")
    add("--parts", type=chosen, default=list(PARTS), help="names with commas between them")
    add("--seconds", type=float, help="for everything")
    add("--workers", type=int, help="loader processes")
    add("--compile", type=compiling.mode, default="off", help="how the part train compiles")
    add("--commit", help="of this code, where git cannot tell it")
    add("--resume", action="store_true", help="leave out what is finished")
    add("--smoke", action="store_true", help="on the CPU, tiny sizes")
    add("--table", type=Path, metavar="FILE", help="write README.md beside this file, and measure nothing")
    asked = parser.parse_args(arguments)
    if asked.table:
        show(asked.table)
        return 0
    if not asked.smoke and not has_gpu():
        parser.error("torch sees no GPU here. --smoke shows on a CPU that the script runs.")
    if "train" in asked.parts and not (asked.data or asked.smoke):
        parser.error("the part train needs --data, a folder with CIFAR-10's parquet files.")
    book = opened(asked.out, asked.smoke, asked.resume)
    workers = asked.workers if asked.workers is not None else runtime.worker_count()
    seconds = asked.seconds or (SMOKE_SECONDS if asked.smoke else SECONDS)
    return run(book, asked.parts, Ask(asked.smoke, asked.data, workers, asked.compile, asked.commit), seconds)


if __name__ == "__main__":
    sys.exit(main())
