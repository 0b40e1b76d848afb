"""Dense nearest neighbors against a plain torch implementation of each protocol: same patches, same run.

    python benchmarks/segmentation_knn.py                # three minutes on one core, 1.5 GB of memory
    python benchmarks/segmentation_knn.py --scale 0.1    # a tenth of the patches; no measure of the goals

A line gives the median CPU time a query patch (both ways alternate, 5 times), the median of the quotients of the plain
way's time and ours, with the goal of the presets, the share of neighbors that are the same, how far apart those are
that one way alone found (ours are exact, the plain way rounds to float32), the share of votes that are the same, and
what is said that ours needs at most with the highest anonymous memory above that at its start. One thread, one process.
Features lie on disk, as the task has them, for ours, and in memory for the plain way.

The plain way of `capi` is facebookresearch/capi eval_segmentation.py:213-278 in float32: distances to 262,144 patches
at a time for 1024 queries, topk of each part and of all, labels gathered, `mode`; and that eight times, for its choice
among four k and two metrics. That of `hummingbird` is open-hummingbird-eval hbird/hbird_eval.py:575-637 with
the products of all patches, a part at a time, for its index.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from transferbench.neighbors import chosen
from transferbench.segmentation.dense_neighbors import Coding, Memory, counted
from transferbench.segmentation.patch_cost import Size
from transferbench.segmentation.patch_predictions import Choice, Law

REPEATS, GOAL = 5, 2.0
CLASSES, TEMPERATURE = 150, 0.02
PART, BATCH = 262_144, 1024
"""CAPI's: patches and queries whose distances are computed together."""
Found = tuple[list[np.ndarray], list[np.ndarray]]
"""By each choice the neighbors of every query, and what they vote."""


@dataclass(frozen=True)
class Line:
    """One comparison: `n` patches remembered, `m` that ask, `d` features, patches of `p` pixels."""

    name: str
    n: int
    m: int
    d: int
    p: int
    choices: tuple[Choice, ...]
    is_attended: bool = False


LINES = (
    Line("capi", 25_000, 2048, 384, 196, tuple((k, each) for k in (1, 3, 10, 30) for each in ("cosine", "euclidean"))),
    Line("hummingbird", 120_000, 8192, 384, 256, ((30, "cosine"),), is_attended=True),
    Line("capi, one choice", 40_000, 16_384, 384, 196, ((30, "cosine"),)),
)
"""In the task 16,384 patches ask together."""


def draw(line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of patches in clusters, two thirds of them of one class alone, and of those that ask."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLASSES, line.d), np.float32)
    first, second = rng.integers(0, CLASSES, (2, line.n + line.m))
    share = np.maximum(0, rng.uniform(-2, 1, (line.n + line.m, 1))).astype(np.float32)
    features = (1 - share) * centers[first] + share * centers[second]
    features += rng.standard_normal(features.shape, np.float32)
    pixels = np.where(np.arange(line.p) < share[: line.n] * line.p, second[: line.n, None], first[: line.n, None])
    return features[: line.n], pixels.astype(np.uint8), features[line.n :]


def plain_capi(features: torch.Tensor, pixels: torch.Tensor, queries: torch.Tensor, choice: Choice) -> Found:
    k, metric = choice
    near, votes = [], []
    for batch in queries.split(BATCH):
        distances, labels, indices = [], [], []
        for start in range(0, len(features), PART):
            keys, values = features[start : start + PART], pixels[start : start + PART]
            if metric == "euclidean":
                apart = torch.cdist(batch, keys)
            else:
                apart = 1 - (batch / batch.norm(dim=-1)[:, None]) @ (keys / keys.norm(dim=-1)[:, None]).T
            least, index = apart.topk(min(k, len(keys)), largest=False)
            distances.append(least)
            indices.append(index + start)
            labels.append(values[index])
        best = torch.cat(distances, 1).topk(k, largest=False).indices
        found = torch.cat(labels, 1)
        votes.append(found.gather(1, best[..., None].expand(*best.shape, found.shape[2])).mode(dim=1).values)
        near.append(torch.cat(indices, 1).gather(1, best))
    return [torch.cat(near).numpy()], [torch.cat(votes).numpy()]


def plain_hummingbird(features: torch.Tensor, shares: torch.Tensor, queries: torch.Tensor, k: int) -> Found:
    near, votes = [], []
    keys = F.normalize(features, dim=-1)
    for batch in queries.split(BATCH):
        values, indices = [], []
        for start in range(0, len(keys), PART):
            value, index = (batch @ keys[start : start + PART].T).topk(k)
            values.append(value)
            indices.append(index + start)
        best = torch.cat(values, 1).topk(k).indices
        index = torch.cat(indices, 1).gather(1, best)
        found = F.normalize(keys[index], dim=-1)
        attention = torch.bmm(found, F.normalize(batch, dim=-1)[..., None])[..., 0].div(TEMPERATURE).softmax(-1)
        votes.append(torch.bmm(attention[:, None], shares[index])[:, 0])
        near.append(index)
    return [torch.cat(near).numpy()], [torch.cat(votes).numpy()]


def ours(memory: Memory, queries: np.ndarray, choices: Sequence[Choice], law: Law) -> Found:
    most = {metric: max(k for k, other in choices if other == metric) for _, metric in choices}
    found = {metric: memory.near(queries, k, metric) for metric, k in most.items()}
    near = [found[metric].indices[:, :k] for k, metric in choices]
    return near, [law.votes(memory, found[metric], k) for k, metric in choices]


class Peak:
    """The most anonymous memory that the process holds inside the block above that before, bytes."""

    def __enter__(self) -> "Peak":
        self.before, self.most, self.done = self._held(), 0, False
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done = True
        self.watch.join()

    def _look(self) -> None:
        while not self.done:
            self.most = max(self.most, self._held() - self.before)
            time.sleep(0.002)

    def _held(self) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def seconds_of(way: Callable[[], Found]) -> tuple[float, Found]:
    start = time.process_time()
    found = way()
    return time.process_time() - start, found


def same(ours: Found, plain: Found, is_attended: bool) -> tuple[float, float]:
    """The share of neighbors that both found, and of votes that are equal (of shares, the class with the largest)."""
    pairs = [
        (set(a), set(b))
        for near, other in zip(ours[0], plain[0], strict=True)
        for a, b in zip(near, other, strict=True)
    ]
    votes = zip(ours[1], plain[1], strict=True)
    equal = [np.mean(a.argmax(1) == b.argmax(1)) if is_attended else np.mean(a == b) for a, b in votes]
    return float(np.mean([len(a & b) / len(b) for a, b in pairs])), float(np.mean(equal))


def apart(line: Line, ours: Found, plain: Found, features: np.ndarray, queries: np.ndarray) -> float:
    """How far a neighbor that one alone found is from those that the other alone found, relative, at most."""
    most = 0.0
    for (_, metric), near, other in zip(line.choices, ours[0], plain[0], strict=True):
        for number in np.flatnonzero((np.sort(near) != np.sort(other)).any(1)):
            query, sides = queries[number].astype(np.float64), []
            for rows in (np.setdiff1d(near[number], other[number]), np.setdiff1d(other[number], near[number])):
                exact = features[rows].astype(np.float64)
                cosines = exact @ query / np.linalg.norm(exact, axis=1) / np.linalg.norm(query)
                sides.append(cosines if metric == "cosine" else np.linalg.norm(exact - query, axis=1))
            most = max(most, float(np.abs(sides[0][:, None] / sides[1] - 1).max()))
    return most


def compare(line: Line, folder: Path) -> str:
    features, pixels, queries = draw(line)
    np.save(folder / "patches.npy", features)
    labels = counted(pixels, CLASSES) if line.is_attended else pixels
    memory = Memory(np.load(folder / "patches.npy", mmap_mode="r"), labels)
    law = Law(Coding(CLASSES, None), TEMPERATURE if line.is_attended else None, "resolution")
    rows, values, asked = (torch.from_numpy(each) for each in (features, labels, queries))
    values = values.float() / line.p if line.is_attended else values

    def plain() -> Found:
        if line.is_attended:
            return plain_hummingbird(rows, values, asked, line.choices[0][0])
        parts = [plain_capi(rows, values, asked, choice) for choice in line.choices]
        return [near[0] for near, _ in parts], [votes[0] for _, votes in parts]

    spent, found = [], {}
    with Peak() as peak:  # before the plain way leaves memory that is used again
        found["ours"] = ours(memory, queries, line.choices, law)
    for _ in range(REPEATS):
        slow, found["plain"] = seconds_of(plain)
        quick, _ = seconds_of(lambda: ours(memory, queries, line.choices, law))
        spent.append((slow, quick, slow / quick))
    slow, quick, ratio = (statistics.median(each) for each in zip(*spent, strict=True))
    size = Size(line.n, line.d, labels.shape[1], labels.itemsize)
    bound = size.in_memory(line.m, max(k for k, _ in line.choices), line.is_attended) - labels.nbytes
    neighbors, votes = same(found["ours"], found["plain"], line.is_attended)
    gap = apart(line, found["ours"], found["plain"], features, queries)
    verdict = "" if "," in line.name else "met" if ratio >= GOAL else "MISSED"
    return (
        f"{line.name:22} {line.n:7,} x {line.m:5,} x {line.d} {1e3 * slow / line.m:8.3f} {1e3 * quick / line.m:8.3f} "
        f"{ratio:6.2f}x {verdict:6} {neighbors:9.6f} {gap:7.0e} {votes:9.6f} "
        f"{bound / 2**20:6.0f} {peak.most / 2**20:6.0f} {'within' if peak.most <= bound else 'ABOVE'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the patches remembered")
    scale = parser.parse_args().scale
    torch.set_num_threads(1)
    try:
        import faiss
    except ImportError:
        print("FAISS is not installed")
    else:
        faiss.omp_set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; the engine is {chosen('auto', torch.device('cpu'))}\n")
    print(
        f"{'protocol':22} {'memory x queries x d':22} {'plain ms':>8} {'ours ms':>8} {'quotient':>14} "
        f"{'neighbors':>9} {'apart':>7} {'votes':>9} {'MiB at most':>6} {'held':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for line in LINES:
            small = Line(line.name, int(line.n * scale), line.m, line.d, line.p, line.choices, line.is_attended)
            print(compare(small, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
