"""k-NN against the plain formulation of the whitening papers' repositories and against FAISS: same work, same run.

    python benchmarks/knn.py                 # four minutes on one core, 4 GB of memory
    python benchmarks/knn.py --scale 0.2     # a fifth of the rows; no measure of the goals
    python benchmarks/knn.py --memory        # what searches need beside their data: five minutes, 5.3 GB of disk

Times: a line gives the median CPU time a query (all ways alternate, 3 times), the medians of the quotients of the plain
formulation's and FAISS's time and its own, the goals for them where there are any, and the share of the true neighbors
that were found, by all pairs in float64 for 100 queries. Every way includes the vote and, for FAISS, filling the index.
`auto` is what a task takes here. One thread.

The plain formulation is INTL's and CW-RGP's (docs/protocols.md#exact-search): `torch.cdist`, the least k, and
one query's vote after the other in Python; 500 queries at a time, which it does not, and which helps it.

Memory: a line gives what `neighbors.memory` says a search needs at most, the highest anonymous memory above that at
its start, and the highest resident memory, where the pages of a mapped bank count as long as nothing else wants the
room. The bank of ImageNet's size is float16 on disk and is searched for as many queries as time allows; as many as are
ever searched together are in another line. The plan for all 50,000 follows.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from transferbench.neighbors import Engine, chosen, memory, search
from transferbench.tasks.knn import vote

REPEATS, CLASSES, CHECKED = 3, 100, 100
IMAGENET = (1_281_167, 50_000, 2048)
Found = tuple[np.ndarray, np.ndarray]
Way = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Found]


@dataclass(frozen=True)
class Line:
    """One comparison: `n` rows, `m` queries, and what `auto` is to reach over the plain formulation and over FAISS."""

    n: int
    m: int
    d: int
    k: int
    goals: tuple[float, float] | None = None


LINES = (
    Line(50_000, 10_000, 512, 5, (2.3, 1.5)),
    Line(50_000, 2_000, 512, 200),
    Line(100_000, 1_000, 2048, 5, (3.3, 1.5)),
)


def draw(n: int, m: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bank and queries in clusters, positive and with a common part as features after a ReLU are, and labels."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, d), scale=0.8).astype(np.float32)
    labels = rng.integers(0, CLASSES, n)

    def near(which: np.ndarray) -> np.ndarray:
        return np.maximum(centers[which] + rng.standard_normal((len(which), d), np.float32), 0)

    return near(labels), near(rng.integers(0, CLASSES, m)), labels


def plain(bank: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int) -> Found:
    rows, known, indices, predicted = torch.from_numpy(bank), torch.from_numpy(labels), [], []
    for part in torch.from_numpy(queries).split(500):
        near = torch.cdist(part, rows).topk(k, largest=False).indices
        indices.append(near)
        predicted += [int(torch.bincount(line).argmax()) for line in known[near]]
    return torch.cat(indices).numpy(), np.array(predicted)


def with_faiss(bank: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int) -> Found:
    import faiss

    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank)
    near = index.search(queries, k)[1]
    return near, vote(labels[near], np.ones(near.shape), CLASSES)


def ours(engine: Engine) -> Way:
    def run(bank: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int) -> Found:
        near = search(bank, queries, k, "euclidean", engine).indices
        return near, vote(labels[near], np.ones(near.shape), CLASSES)

    return run


def exact(bank: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    rows, asked = bank.astype(np.float64), queries.astype(np.float64)
    return np.argsort((rows**2).sum(1) - 2 * asked @ rows.T, axis=1, kind="stable")[:, :k]


def recall(near: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(near, truth, strict=False)]))


def compare(line: Line, best: Engine) -> list[str]:
    bank, queries, labels = draw(line.n, line.m, line.d)
    engines: list[Engine] = [best, *(e for e in ("torch", "faiss") if e != best)]
    ways: dict[str, Way] = {"plain": plain, "FAISS": with_faiss, **{f"ours, {e}": ours(e) for e in engines}}
    truth, seconds, recalls = exact(bank, queries[:CHECKED], line.k), {name: [] for name in ways}, {}
    for way in ways.values():
        way(bank[:9000], queries[:50], labels[:9000], line.k)
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.process_time()
            near, _ = way(bank, queries, labels, line.k)
            seconds[name].append(time.process_time() - start)
            recalls[name] = recall(near, truth)
    shape, rows = f"{line.n} x {line.m} x {line.d}, k {line.k}", []
    for name, spent in seconds.items():
        verdicts = []
        for i, base in enumerate(("plain", "FAISS")):
            ratio = statistics.median(a / b for a, b in zip(seconds[base], spent, strict=True))
            goal = line.goals[i] if line.goals and name == f"ours, {best}" else None
            judged = f"{goal:g}x {'met' if ratio >= goal else 'MISSED'}" if goal else ""
            verdicts.append(f"{ratio:5.2f}x  {judged:11}")
        each = 1e3 * statistics.median(spent) / line.m
        gate = "" if recalls[name] == 1 or not name.startswith("ours") else "  MISSED 1"
        rows.append(f"{shape:28} {name:17} {each:7.3f}   {'  '.join(verdicts)}  {recalls[name]:.4f}{gate}")
    return rows


class Peak:
    """The most that the process holds inside the block, bytes: anonymous memory above that before, and all resident."""

    def __enter__(self) -> "Peak":
        self.before, self.anonymous, self.resident, self.done = self._held("RssAnon"), 0, 0, False
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done = True
        self.watch.join()

    def _look(self) -> None:
        while not self.done:
            self.anonymous = max(self.anonymous, self._held("RssAnon") - self.before)
            self.resident = max(self.resident, self._held("VmRSS"))
            time.sleep(0.005)

    def _held(self, what: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def needed(n: int, m: int, d: int, k: int) -> str:
    """A search in a float16 bank mapped from disk, no two rows of which are alike."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path, block = Path(folder) / "bank.npy", rng.standard_normal((8192, d), np.float32).astype(np.float16)
        bank = np.lib.format.open_memmap(path, "w+", np.float16, (n, d))
        for i, start in enumerate(range(0, n, len(block))):
            bank[start : start + len(block)] = np.roll(block, i, axis=1)[: n - start]
        bank.flush()
        del bank
        queries, bank = rng.standard_normal((m, d), np.float32), np.load(path, mmap_mode="r")
        start = time.process_time()
        with Peak() as peak:
            search(bank, queries, k, "euclidean")
        seconds = time.process_time() - start
    planned = memory(n, m, d, k)
    held = f"{planned / 2**20:8.0f} {peak.anonymous / 2**20:8.0f} {peak.resident / 2**20:9.0f} {seconds:6.0f}"
    return f"{f'{n} x {m} x {d}, k {k}':32} {held}{'' if peak.anonymous <= planned else '  MISSED'}"


def show_memory() -> None:
    print(f"{'bank x queries x d':32} {'plan MiB':>8} {'needed':>8} {'resident':>9} {'s':>6}")
    n, m, d = IMAGENET
    for shape in ((50_000, 10_000, 512, 5), (50_000, 10_000, 512, 200), (20_000, 32_768, d, 20), (n, 2_000, d, 20)):
        print(needed(*shape), flush=True)
    for k in (20, 200):
        print(f"{f'{n} x {m} x {d}, k {k}':32} {memory(n, m, d, k) / 2**20:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows and queries")
    parser.add_argument("--memory", action="store_true")
    asked = parser.parse_args()
    import faiss

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    if asked.memory:
        show_memory()
        return
    best = chosen("auto", torch.device("cpu"))
    print(f"torch {torch.__version__}, FAISS {faiss.__version__}, one thread; auto is {best}\n")
    print(f"{'bank x queries x d':28} {'':17} {'ms each':>7}   {'over plain':19}  {'over FAISS':19} recall")
    for line in LINES:
        goals = line.goals if asked.scale == 1 else None
        small = Line(int(line.n * asked.scale), int(line.m * asked.scale), line.d, line.k, goals)
        print("\n".join(compare(small, best)), flush=True)


if __name__ == "__main__":
    main()
