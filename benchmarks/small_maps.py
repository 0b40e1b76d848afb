"""A whole step of INTL's ResNet-18 recipe for CIFAR-10, with and without the products of `decorssl.fused.small_maps`.

    python benchmarks/small_maps.py [BATCH]        # one thread; a minute at the default batch of 256, in bfloat16

Steps alternate between two trainings that began alike; medians of CPU time and of their quotients. The rows below are
of single convolutions, forward and backward, at a batch of 256. It gains where the CPU has instructions for bfloat16.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from step import Ours, synthetic
from torch import Tensor, nn

from decorssl import recipe as recipes
from decorssl.fused.small_maps import SmallMapConv2d

REPEATS = 7


def spent(run: Callable[[], object]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def plain(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, SmallMapConv2d):
            module.__class__ = nn.Conv2d


def compare(ways: dict[str, Callable[[], object]], title: str) -> None:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 1):
        for name, way in ways.items():
            seconds = spent(way)
            if repeat:  # the first is a warm-up
                times[name].append(seconds)
    before, now = times.values()
    ratio = statistics.median(a / b for a, b in zip(before, now, strict=True))
    print(
        f"{title:36} {1e3 * statistics.median(before):8.1f} ms  {1e3 * statistics.median(now):8.1f} ms  {ratio:5.2f} x"
    )


def convolution(kind: type[nn.Conv2d], images: Tensor, channels: int, stride: int) -> Callable[[], None]:
    torch.manual_seed(0)
    layer = kind(images.shape[1], channels, 3, stride, 1, bias=False).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            layer(images).float().square().mean().backward()

    return step


def main() -> None:
    torch.set_num_threads(1)
    batch = int(sys.argv[1]) if sys.argv[1:] else 256
    recipe = recipes.read("intl-cifar10", [f"batch_size={batch}", "precision=bfloat16"])
    before, now = (Ours(recipe, synthetic(batch, 32, 32)) for _ in range(2))
    plain(before.training.learner)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; Conv2d, then ours")
    compare(
        {"before": lambda: before.step(before.views()), "now": lambda: now.step(now.views())}, f"INTL, batch {batch}"
    )
    for channels, out, side, stride in ((512, 512, 4, 1), (256, 512, 8, 2)):
        images = torch.randn(256, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
        both = {kind.__name__: convolution(kind, images, out, stride) for kind in (nn.Conv2d, SmallMapConv2d)}
        compare(both, f"{channels} to {out} channels, {side}x{side}, stride {stride}")


if __name__ == "__main__":
    main()
