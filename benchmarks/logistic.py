"""Logistic regression against scikit-learn's in float32, to the same tolerance: same data, same run.

    python benchmarks/logistic.py          # about four minutes of one core

One thread, process CPU time, medians of interleaved repeats: 7 for one fit, 3 for a path of ten C, where scikit-learn
starts each fit where the one before ended (`warm_start`), as ours does. Losses are scikit-learn's objective over C n,
in float64.
"""

import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from transferbench.logreg import Problem

TOLERANCE, MOST = 1e-4, 1000


def draw(n: int, d: int, classes: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Positive features in clusters of very unequal directions, as a backbone's are, and labels."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((d, d), np.float32) * (1 / np.arange(1, d + 1, dtype=np.float32)) ** 0.5
    labels = rng.integers(0, classes, n)
    rows = rng.standard_normal((classes, d), np.float32)[labels] * spread + rng.standard_normal((n, d), np.float32)
    return np.maximum(rows @ mix.T / d**0.5 * 4, 0), labels


def loss(rows: np.ndarray, labels: np.ndarray, parameters: np.ndarray, strength: float) -> float:
    weight, bias = torch.from_numpy(parameters[:, :-1]), torch.from_numpy(parameters[:, -1])
    own = torch.nn.functional.cross_entropy(torch.from_numpy(rows).double() @ weight.T + bias, torch.from_numpy(labels))
    return float(own) + float(weight.square().sum()) / (2 * strength * len(rows))


def theirs(rows: np.ndarray, labels: np.ndarray, strengths: list[float]) -> list[np.ndarray]:
    model, found = LogisticRegression(tol=TOLERANCE, max_iter=MOST, warm_start=True), []
    for strength in strengths:
        model.set_params(C=strength).fit(rows, labels)
        found.append(np.concatenate([model.coef_, model.intercept_[:, None]], 1).astype(np.float64))
    return found


def ours(rows: np.ndarray, labels: np.ndarray, strengths: list[float]) -> list[np.ndarray]:
    problem, found, start = Problem.of(torch.from_numpy(rows), torch.from_numpy(labels)), [], None
    for strength in strengths:
        start = problem.fit(strength, TOLERANCE, MOST, start).parameters
        found.append(start.numpy())
    return found


def compare(n: int, d: int, classes: int, spread: float, penalties: list[float], repeats: int) -> None:
    rows, labels = draw(n, d, classes, spread)
    strengths, spent = [1 / (penalty * n) for penalty in penalties], ([], [])
    for _ in range(repeats):
        for way, seconds in zip((theirs, ours), spent, strict=True):
            start = time.process_time()
            found = way(rows, labels, strengths)
            seconds.append(time.process_time() - start)
            if len(seconds) == 1:
                losses = [loss(rows, labels, p, c) for p, c in zip(found, strengths, strict=True)]
                print(f"  {way.__name__:7} losses {' '.join(f'{value:.6f}' for value in losses)}", flush=True)
    a, b = (statistics.median(seconds) / len(penalties) for seconds in spent)
    ratio = statistics.median(x / y for x, y in zip(*spent, strict=True))
    print(
        f"{n} x {d} -> {classes}, {len(penalties):2} C: scikit-learn {a:.2f} s, ours {b:.2f} s a value, {ratio:.2f}x",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        compare(50_000, 512, 10, 0.3, [1e-4], 7)
        compare(50_000, 512, 10, 0.3, np.logspace(-1, -6, 10).tolist(), 3)


if __name__ == "__main__":
    main()
