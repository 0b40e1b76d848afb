"""Linear probes: many settings in one pass against one by one, and cached features against a backbone run again.

    python benchmarks/probe.py             # about three minutes of one core

One thread, process CPU time, medians of 5 interleaved repeats. `plain` is a layer, autograd, and torch's SGD.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from transferbench.backbones import Architecture, build, complete
from transferbench.data.loading import shuffled
from transferbench.features import evaluating
from transferbench.heads import Heads, Rule, Seen, Setting
from transferbench.probe import initial
from transferbench.runtime import Runtime

REPEATS, BATCH, IMAGES = 5, 256, 50_000
HERE = Runtime(torch.device("cpu"))


def plain(seen: Seen, setting: Setting, rule: Rule, seed: int) -> torch.nn.Linear:
    rows, labels = seen.passes[0], seen.labels
    head = initial(rows.shape[1], seen.classes, seed)
    optimizer = torch.optim.SGD(head.parameters(), setting[0], rule.momentum, weight_decay=setting[1])
    for epoch in range(rule.epochs):
        for plan in shuffled(len(rows), rule.batch_size, epoch, seed, drop_last=False):
            chosen = torch.from_numpy(plan.indices)
            optimizer.zero_grad()
            F.cross_entropy(head(rows[chosen]), labels[chosen]).backward()
            optimizer.step()
    return head


def together(seen: Seen, settings: list[Setting], rule: Rule, seed: int) -> Heads:
    heads = Heads(seen, settings, rule, seed)
    for epoch in range(rule.epochs):
        heads.epoch(epoch)
    return heads


def draw(n: int, d: int, classes: int) -> Seen:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    rows = rng.standard_normal((classes, d), np.float32)[labels] + rng.standard_normal((n, d), np.float32)
    return Seen.of([np.maximum(rows, 0)], labels, classes, HERE)


def timed(run: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def settings_at_once(n: int, d: int, classes: int) -> None:
    seen = draw(n, d, classes)
    rule = Rule("sgd", 1, BATCH, lambda epoch, step, steps: 1.0, momentum=0.9)
    settings = [(lr, decay) for lr in np.logspace(-4, -2, 10).tolist() for decay in (0, 1e-6, 1e-5, 1e-4, 1e-3)]
    spent, off = ([], [], []), 0.0
    for _ in range(REPEATS):
        apart, layers = timed(lambda: [plain(seen, setting, rule, 0) for setting in settings])
        singly, _ = timed(lambda: [together(seen, [setting], rule, 0) for setting in settings])
        once, heads = timed(lambda: together(seen, settings, rule, 0))
        for seconds, new in zip(spent, (apart, singly, once), strict=True):
            seconds.append(new)
        shown = seen.passes[0][:1000]
        off = max(float((heads.logits(shown, i) - layer(shown)).abs().max()) for i, layer in enumerate(layers))
    a, b, c = (statistics.median(seconds) for seconds in spent)
    ratios = [statistics.median(x / y for x, y in zip(base, spent[2], strict=True)) for base in spent[:2]]
    print(
        f"{n} x {d} -> {classes}, {len(settings)} settings, one epoch: plain one by one {a:.2f} s, "
        f"ours one by one {b:.2f} s, at once {c:.2f} s: {ratios[0]:.2f}x, {ratios[1]:.2f}x "
        f"(logits differ by {off:.0e} at most)",
        flush=True,
    )


def without_the_backbone(d: int, classes: int, epochs: int) -> None:
    """What is not measured whole: the backbone's time for all images follows from a sample."""
    arguments = {"depth": 18, "stem": "cifar"}
    backbone = build(complete(Architecture(family="resnet", arguments=arguments)), seed=0)
    images, seen = torch.randn(BATCH, 3, 32, 32), draw(IMAGES, d, classes)
    rule = Rule("sgd", epochs, BATCH, lambda epoch, step, steps: 1.0, momentum=0.9)
    heads = Heads(seen, [(0.1, 0.0)], rule, 0)
    forward, probe = [], []
    with evaluating(backbone):
        backbone(images)
        for number in range(REPEATS):
            forward.append(timed(lambda: backbone(images))[0] / BATCH)
            probe.append(timed(lambda number=number: heads.epoch(number))[0])
    image, epoch = statistics.median(forward), statistics.median(probe)
    again, cached = epochs * (IMAGES * image + epoch), IMAGES * image + epochs * epoch
    print(
        f"ResNet-18, {IMAGES} images of 32 x 32, {epochs} epochs: backbone {1e3 * image:.2f} ms an image, "
        f"probe {epoch:.2f} s an epoch; extrapolated, backbone each epoch {again:.0f} s, "
        f"once {cached:.0f} s: {again / cached:.0f}x",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    settings_at_once(10_000, 512, 10)
    settings_at_once(4_000, 2048, 100)
    without_the_backbone(512, 10, 100)


if __name__ == "__main__":
    main()
