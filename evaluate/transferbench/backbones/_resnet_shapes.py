"""Depth, width, groups and stem of a ResNet, read off its tensors' names and shapes."""

import re
from typing import Any

from transferbench.backbones import Shapes

BLOCKS = {
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    26: ("bottleneck", (2, 2, 2, 2)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
"""The kind of block of each depth, and how many a stage has."""


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read depth, width, groups and stem off the shapes; two stems of equal shapes give two proposals, plain first.

    Each is read in more than one place, so that one missing or misshapen tensor leaves the right network nearest.
    """
    blocks = [name.split(".") for name in shapes if re.match(r"layer[1-4]\.\d+\.", name)]
    counts = tuple(len({block for layer, block, *_ in blocks if layer == f"layer{i}"}) for i in (1, 2, 3, 4))
    if sum(map(bool, counts)) < 2:
        return []
    kind = "bottleneck" if any(rest[0] == "conv3" for _, _, *rest in blocks) else "basic"
    depths = [depth for depth, (of, _) in BLOCKS.items() if of == kind]
    depth = min(depths, key=lambda depth: sum(abs(a - b) for a, b in zip(counts, BLOCKS[depth][1], strict=True)))
    common = {
        "depth": depth,
        "conv1_bias": "conv1.bias" in shapes,
        "avg_down": any(name.endswith("downsample.2.weight") for name in shapes),
    }
    return [
        {**common, **widths, "stem": stem}
        for widths in _widths(shapes, kind == "bottleneck")
        for stem in _stems(shapes)
    ]


def _stems(shapes: Shapes) -> list[str]:
    if any(name.startswith("conv1.") and name.split(".")[1].isdigit() for name in shapes):
        return ["deep"]
    kernel = (shapes.get("conv1.weight") or (0,))[-1]
    return {7: ["imagenet"], 3: ["cifar", "small_maxpool"]}.get(kernel, ["imagenet", "cifar"])


def _widths(shapes: Shapes, bottleneck: bool) -> list[dict[str, Any]]:
    """The stem's and every stage's idea of `width`, `groups` and `width_per_group`, without repetition."""
    stem = [shapes[name][0] / 64 for name in ("conv1.weight", "bn1.weight", "conv1.6.weight") if shapes.get(name)]
    first = shapes.get("layer1.0.conv1.weight", ())
    stem = stem or [first[1] / 64 if len(first) == 4 else 1.0]
    proposals: list[dict[str, Any]] = []
    for stage in range(4):
        second = shapes.get(f"layer{stage + 1}.0.conv2.weight", ())
        if len(second) != 4 or not all(second[:2]):
            continue
        channels, groups = second[0] / 2**stage, max(1, second[0] // second[1])
        for width in dict.fromkeys(stem if bottleneck else [*stem, channels / 64]):
            per_group = round(channels / groups / width) if bottleneck else 64
            entry = {"width": width, "groups": groups if bottleneck else 1, "width_per_group": max(1, per_group)}
            if entry not in proposals:
                proposals.append(entry)
    return proposals
