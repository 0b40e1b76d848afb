"""k-NN against the plain formulation of the whitening papers' repositories and against FAISS: same work, same run.

    python benchmarks/knn.py               # about four minutes of one core
    python benchmarks/knn.py memory        # what a search needs beside its data, with ImageNet's bank; 10.5 GB of disk

One thread, process CPU time, medians of 3 interleaved repeats (a pass of the plain formulation takes up to 20 s). Every
line includes the vote and, for FAISS, filling the index. Recall is against all pairs in float64, for 100 queries.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import torch

from transferbench import neighbours
from transferbench.neighbours import Engine, memory, search
from transferbench.tasks.knn import vote

REPEATS, CLASSES, CHECKED = 3, 100, 100
Found = tuple[np.ndarray, np.ndarray]


def draw(n: int, m: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bank and queries in clusters, positive and with a common part as features after a ReLU are, and labels."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, d), scale=0.8).astype(np.float32)
    labels = rng.integers(0, CLASSES, n)

    def near(which: np.ndarray) -> np.ndarray:
        return np.maximum(centres[which] + rng.standard_normal((len(which), d), np.float32), 0)

    return near(labels), near(rng.integers(0, CLASSES, m)), labels


def plain(bank: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int) -> Found:
    """All distances of some queries at a time, the k least, and the vote of one query after the other (spec 2.3)."""
    rows, known, indices, predicted = torch.from_numpy(bank), torch.from_numpy(labels), [], []
    for part in torch.from_numpy(queries).split(500):
        near = torch.cdist(part, rows).topk(k, largest=False).indices
        indices.append(near)
        predicted += [int(torch.bincount(line).argmax()) for line in known[near]]
    return torch.cat(indices).numpy(), np.array(predicted)


def with_faiss(bank: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int) -> Found:
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank)
    near = index.search(queries, k)[1]
    return near, vote(labels[near], np.ones(near.shape), CLASSES)


def ours(engine: Engine) -> Callable[..., Found]:
    def run(bank: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int) -> Found:
        near = search(bank, queries, k, "euclidean", engine).indices
        return near, vote(labels[near], np.ones(near.shape), CLASSES)

    return run


def exact(bank: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    rows, asked = bank.astype(np.float64), queries.astype(np.float64)
    return np.argsort((rows**2).sum(1) - 2 * asked @ rows.T, axis=1, kind="stable")[:, :k]


def compare(n: int, m: int, d: int, k: int) -> None:
    bank, queries, labels = draw(n, m, d)
    ways = {"plain": plain, "faiss": with_faiss, **{f"ours, {e}": ours(e) for e in ("torch_bf16", "torch", "faiss")}}
    truth, seconds, recalls = exact(bank, queries[:CHECKED], k), {name: [] for name in ways}, {}
    ours("auto")(bank[:9000], queries[:50], labels[:9000], k)
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.process_time()
            near, _ = way(bank, queries, labels, k)
            seconds[name].append(time.process_time() - start)
            recalls[name] = np.mean([len(set(a) & set(b)) / k for a, b in zip(near[:CHECKED], truth, strict=True)])
    for name, spent in seconds.items():
        ratios = [
            statistics.median(a / b for a, b in zip(seconds[base], spent, strict=True)) for base in ("plain", "faiss")
        ]
        print(
            f"{n} x {m} x {d}, k {k:3}  {name:18} {1e3 * statistics.median(spent) / m:7.3f} ms a query"
            f"  {ratios[0]:5.2f}x plain  {ratios[1]:5.2f}x faiss  recall {recalls[name]:.4f}",
            flush=True,
        )


class Peak:
    """The most anonymous memory that the process holds inside the block, bytes, above what it held before."""

    def __enter__(self) -> "Peak":
        self.before, self.most, self.done = self._held(), 0, False
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done = True
        self.watch.join()
        self.bytes = self.most - self.before

    def _look(self) -> None:
        while not self.done:
            self.most = max(self.most, self._held())
            time.sleep(0.005)

    def _held(self) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def needed(n: int, m: int, d: int, k: int) -> None:
    """A search in a bank mapped from disk: what it was said to need, and what it did."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        bank = np.lib.format.open_memmap(Path(folder) / "bank.npy", "w+", np.float32, (n, d))
        block = rng.standard_normal((8192, d), np.float32)
        for i, start in enumerate(range(0, n, len(block))):
            bank[start : start + len(block)] = (block * np.float32(1 + 0.003 * i))[: n - start]
        queries = rng.standard_normal((m, d), np.float32)
        bank = np.load(Path(folder) / "bank.npy", mmap_mode="r")
        start = time.process_time()
        with Peak() as peak:
            search(bank, queries, k, "euclidean")
        seconds = time.process_time() - start
    planned = memory(n, m, d, k)
    print(
        f"{n} x {m} x {d}, k {k:3}: planned {planned / 2**20:7.0f} MiB, needed {peak.bytes / 2**20:7.0f} MiB,"
        f" {seconds:.0f} s",
        flush=True,
    )
    assert peak.bytes <= planned


def main() -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    if sys.argv[1:] == ["memory"]:
        for n, m, d, k in ((20_000, 2_000, 512, 5), (50_000, 10_000, 512, 200), (40_000, 20_000, 256, 200)):
            needed(n, m, d, k)
        needed(1_281_167, 512, 2048, 20)
        for k in (20, 200):
            print(f"1281167 x 50000 x 2048, k {k:3}: planned {memory(1_281_167, 50_000, 2048, k) / 2**20:.0f} MiB")
        return
    print(f"auto is {neighbours.chosen('auto', torch.device('cpu'))} here")
    compare(50_000, 10_000, 512, 5)
    compare(50_000, 2_000, 512, 200)
    compare(100_000, 1_000, 2048, 5)


if __name__ == "__main__":
    main()
