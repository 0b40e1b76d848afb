"""The suite paper-cifar on one checkpoint in one call, against one call for each of its parts: same settings, same run.

    python benchmarks/paper_cifar.py runs/cifar/backbone.safetensors $DATA/cifar10-jpeg.zip [LIMIT]

Every call starts with an empty cache and keeps no records. A line gives a part's wall time and CPU time (of all threads
and loader processes) within the whole call and in a call of its own. Fine-tuning reads no features that another part
has, so it is measured once and counted in both sums.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from transferbench import runtime
from transferbench.api import EvaluationRequest, Execution, prepare
from transferbench.records import Record

SUITE, ALONE = "paper-cifar", "semi"
"""The suite, and the task of it that shares nothing."""


@dataclass(frozen=True)
class Part:
    """A job's result and what it took, in seconds."""

    record: Record
    wall: float
    cpu: float


def spent() -> float:
    return sum(os.times()[:4])


def parts(request: EvaluationRequest) -> list[Part]:
    """Run it with nothing cached; opening files is nobody's part."""
    workers = runtime.worker_count()
    runtime.share_cores(workers)
    with tempfile.TemporaryDirectory() as cache:
        work = prepare(request, Execution(runtime.start("auto"), cache=Path(cache), workers=workers)).run()
        found, begun = [], (time.perf_counter(), spent())
        for record in work:
            if record.status != "ok":
                sys.exit(f"{record.task}: {record.error}")
            found.append(Part(record, time.perf_counter() - begun[0], spent() - begun[1]))
            begun = time.perf_counter(), spent()
    return found


def score(record: Record) -> str:
    main = next(score for score in record.scores if score.metric == record.primary)
    return f"{main.value:.2f}"


def main(checkpoint: str, data: str, limit: str | None = None) -> None:
    def request(task: str | None = None) -> EvaluationRequest:
        cut = int(limit) if limit else None
        return EvaluationRequest([checkpoint], [data], SUITE, task, limit=cut, control=False)

    whole = parts(request())
    print(f"{'part':14} {'score':>7} {'together':>18} {'apart':>18}   wall s (CPU s)")
    sums = [0.0, 0.0, 0.0, 0.0]
    for part in whole:
        own = part if part.record.task == ALONE else parts(request(part.record.task))[0]
        row = [part.wall, part.cpu, own.wall, own.cpu]
        sums = [total + each for total, each in zip(sums, row, strict=True)]
        shown = [f"{wall:9.1f} ({cpu:6.1f})" for wall, cpu in (row[:2], row[2:])]
        print(f"{part.record.label:14} {score(part.record):>7} {shown[0]:>18} {shown[1]:>18}", flush=True)
    shared = next(part for part in whole if part.record.task == ALONE)
    print(f"all: {sums[2] / sums[0]:.2f}x by wall, {sums[3] / sums[1]:.2f}x by CPU")
    print(f"all but {ALONE}: {(sums[2] - shared.wall) / (sums[0] - shared.wall):.2f}x by wall, ", end="")
    print(f"{(sums[3] - shared.cpu) / (sums[1] - shared.cpu):.2f}x by CPU")


if __name__ == "__main__":
    main(*sys.argv[1:])
