"""Linear probes: many settings in one pass against one by one, and cached features against a backbone run again.

    python benchmarks/probe.py                  # three minutes on one core
    python benchmarks/probe.py --rows 2000      # a fifth of the rows for the settings; no measure of the goals

Settings: a line gives the median CPU time of an epoch of 50 heads trained one by one and of all trained at once (they
alternate, 5 times), the median of their quotients and the goal for it, and the largest difference of logits over the
largest logit. One by one they are a layer, autograd and torch's SGD, as in the published probes; and our own heads.

Backbone: the time of a 100-epoch probe that runs the backbone in every epoch, over that of one that runs it once and
keeps the features. Neither is run whole. The backbone is timed on 256 images and an epoch of the probe on features of
all 50,000, in turn; the totals follow by multiplication. Reading and augmenting images is left out of both. One thread,
float32.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transferbench.backbones import Architecture, build, complete
from transferbench.data.loading import shuffled
from transferbench.features.extraction import evaluating
from transferbench.probing.batched_heads import BatchedHeads, HeadInputs, Rule, Setting
from transferbench.probing.probe import initial
from transferbench.runtime import Runtime

REPEATS, BATCH, ROWS, IMAGES, EPOCHS, AGAIN = 5, 256, 10_000, 50_000, 100, 50.0
SETTINGS = [(lr, decay) for lr in np.logspace(-4, -2, 10).tolist() for decay in (0, 1e-6, 1e-5, 1e-4, 1e-3)]
RULE = Rule("sgd", 1, BATCH, lambda epoch, step, steps: 1.0, momentum=0.9)
ERROR = 1e-4
"""The logits of heads trained alone and together may differ by so much of the largest."""


@dataclass(frozen=True)
class Line:
    """One comparison on `share` of the rows that are asked for."""

    d: int
    classes: int
    share: float
    goal: float | None = None


LINES = (Line(512, 10, 1.0, 3.5), Line(2048, 100, 0.3))


def draw(n: int, d: int, classes: int) -> HeadInputs:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    rows = rng.standard_normal((classes, d), np.float32)[labels] + rng.standard_normal((n, d), np.float32)
    return HeadInputs.of([np.maximum(rows, 0)], labels, classes, Runtime(torch.device("cpu")))


def plain(seen: HeadInputs, setting: Setting) -> torch.nn.Linear:
    rows, labels = seen.passes[0], seen.labels
    head = initial(rows.shape[1], seen.classes, seed=0)
    optimizer = torch.optim.SGD(head.parameters(), setting[0], RULE.momentum, weight_decay=setting[1])
    for plan in shuffled(len(rows), BATCH, 0, 0, drop_last=False):
        chosen = torch.from_numpy(plan.indices)
        optimizer.zero_grad()
        F.cross_entropy(head(rows[chosen]), labels[chosen]).backward()
        optimizer.step()
    return head


def trained(seen: HeadInputs, settings: list[Setting]) -> BatchedHeads:
    heads = BatchedHeads(seen, settings, RULE, 0)
    heads.epoch(0)
    return heads


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def difference(rows: Tensor, layers: list[torch.nn.Linear], heads: BatchedHeads) -> float:
    with torch.no_grad():
        alone = torch.stack([layer(rows) for layer in layers])
    together = torch.stack([heads.logits(rows, i) for i in range(len(layers))])
    return float((together - alone).abs().max() / alone.abs().max())


def settings_at_once(line: Line, rows: int) -> list[str]:
    n, spent, layers, heads = int(rows * line.share), [], [], None
    seen = draw(n, line.d, line.classes)
    for _ in range(REPEATS):
        first, layers = timed(lambda: [plain(seen, setting) for setting in SETTINGS])
        second, _ = timed(lambda: [trained(seen, [setting]) for setting in SETTINGS])
        third, heads = timed(lambda: trained(seen, SETTINGS))
        spent.append((first, second, third))
    error = difference(seen.passes[0][:1000], layers, heads)
    gate = "" if error <= ERROR else f"  MISSED {ERROR:.0e}"
    shape, found = f"{n} x {line.d} -> {line.classes}", []
    once = statistics.median(third for _, _, third in spent)
    for i, name in enumerate(("torch, one by one", "ours, one by one")):
        judged = i == 0 and rows == ROWS
        ratio = statistics.median(each[i] / each[2] for each in spent)
        goal = f"{line.goal:g}x {'met' if ratio >= line.goal else 'MISSED'}" if line.goal and judged else ""
        alone = statistics.median(each[i] for each in spent)
        found.append(f"{shape:21} {name:18} {alone:9.2f} {once:9.2f} {ratio:8.2f}x  {goal:10} {error:.0e}{gate}")
    return found


def without_the_backbone() -> str:
    """CIFAR-10's size: a ResNet-18 for small images and 10 classes."""
    backbone = build(complete(Architecture(family="resnet", arguments={"depth": 18, "stem": "cifar"})), seed=0)
    images, heads = torch.randn(BATCH, 3, 32, 32), BatchedHeads(draw(IMAGES, 512, 10), [(0.01, 0.0)], RULE, 0)
    forward, probe = [], []
    with evaluating(backbone):
        backbone(images)
        for number in range(REPEATS):
            forward.append(timed(lambda: backbone(images))[0] / BATCH)
            probe.append(timed(lambda number=number: heads.epoch(number))[0])
    image, epoch = statistics.median(forward), statistics.median(probe)
    again, cached = EPOCHS * (IMAGES * image + epoch), IMAGES * image + EPOCHS * epoch
    verdict = f"{again / cached:.0f}x  {AGAIN:g}x {'met' if again / cached >= AGAIN else 'MISSED'}"
    return "\n".join(
        (
            f"ResNet-18, {IMAGES} images of 32 x 32, {EPOCHS} epochs",
            f"measured: {1e3 * image:.2f} ms an image in the backbone, {epoch:.3f} s an epoch of the probe",
            f"multiplied: {again:.0f} s with the backbone in every epoch, {cached:.0f} s with it once, {verdict}",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, one thread, float32; {len(SETTINGS)} settings, one epoch of batches of {BATCH}\n"
    )
    print(f"{'rows x d -> classes':21} {'':18} {'apart s':>9} {'at once s':>9} {'ratio':>9}  {'goal':10} difference")
    for line in LINES:
        print("\n".join(settings_at_once(line, asked.rows)), flush=True)
    print(f"\n{without_the_backbone()}")


if __name__ == "__main__":
    main()
