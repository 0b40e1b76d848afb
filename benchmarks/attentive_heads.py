"""Steps of many attention-pooled heads, against one module after another as they are usually written; one thread.

    python benchmarks/attentive_heads.py          # two minutes on one core

A line gives the CPU seconds of a step of all settings, forward and backward, medians of 5 that alternate: a loop over
modules that project keys and values (capi's head with torch's attention), a loop over ours, and ours by as many at once
as the task takes. Logits of the first two are compared before anything is timed.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferbench.probing.attention_pooling import AttentionPooling, BatchStatistics, first, logits
from transferbench.probing.attentive_heads import VALUES

CASES = ((64, 16, 256, 30, 10), (384, 196, 64, 30, 100), (768, 196, 64, 30, 100))
"""Channels, tokens, images, settings, classes."""
POOLING = AttentionPooling()


class Module(nn.Module):
    """The head with weights of its own."""

    def __init__(self, p: dict[str, Tensor]) -> None:
        super().__init__()
        self.heads = POOLING.heads(p["query"].shape[1])
        self.p = nn.ParameterDict({name.replace(".", "_"): nn.Parameter(each[0].clone()) for name, each in p.items()})

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, `b c`."""
        q = self.p["query"].expand(len(tokens), 1, -1)
        k, v = F.linear(tokens, self.p["keys_weight"]), F.linear(tokens, self.p["values_weight"], self.p["values_bias"])
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (q, k, v))
        pooled = F.scaled_dot_product_attention(q, k, v).flatten(1)
        return F.linear(pooled, self.p["classifier_weight"], self.p["classifier_bias"])


def ours(p: dict[str, Tensor], count: int, at_once: int, tokens: Tensor, labels: Tensor) -> Callable[[], None]:
    """A step of `count` settings, so many at a time."""
    sizes = [min(at_once, count - start) for start in range(0, count, at_once)]
    parts = [
        {name: each.repeat(size, *[1] * (each.ndim - 1)).requires_grad_() for name, each in p.items()} for size in sizes
    ]
    nothing = BatchStatistics(1, tokens.shape[2], tokens.device)

    def step() -> None:
        for part in parts:
            found = logits(POOLING, part, tokens, nothing, training=True)
            own = labels[:, None].expand(found.shape[:2])
            loss = F.cross_entropy(found.transpose(1, 2), own, reduction="sum") / len(labels)
            torch.autograd.grad(loss, list(part.values()))

    return step


def loop(p: dict[str, Tensor], count: int, tokens: Tensor, labels: Tensor) -> Callable[[], None]:
    """The same by a module for each setting."""
    modules = [Module(p) for _ in range(count)]
    nothing = BatchStatistics(1, tokens.shape[2], tokens.device)
    torch.testing.assert_close(
        modules[0](tokens), logits(POOLING, p, tokens, nothing, True)[:, 0], rtol=1e-3, atol=1e-4
    )

    def step() -> None:
        for module in modules:
            torch.autograd.grad(F.cross_entropy(module(tokens), labels), list(module.parameters()))

    return step


def main() -> None:
    """Time all cases and print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} thread")
    print("channels  tokens  images  settings  modules    ours, one by one    at once")
    for width, count, images, settings, classes in CASES:
        tokens, labels = torch.randn(images, count, width), torch.arange(images) % classes
        p, at_once = (
            first(POOLING, width, classes, 0),
            max(1, VALUES // (images * POOLING.heads(width) * (count + width))),
        )
        steps = [loop(p, settings, tokens, labels)]
        steps += [ours(p, settings, each, tokens, labels) for each in (1, at_once)]
        seconds: list[list[float]] = [[] for _ in steps]
        for _ in range(5):
            for step, taken in zip(steps, seconds, strict=True):
                begun = time.process_time()
                step()
                taken.append(time.process_time() - begun)
        plain, one, many = (statistics.median(taken) for taken in seconds)
        shown = f"{one:.3f} ({plain / one:.0f}x)".ljust(19), f"{many:.3f} ({plain / many:.0f}x, {at_once} at once)"
        print(f"{width:8} {count:7} {images:7} {settings:9} {plain:8.3f}    {shown[0]} {shown[1]}", flush=True)


if __name__ == "__main__":
    main()
