"""The convolutions of a residual network, from the rules in which papers state it (He et al., table 1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from transferbench.backbones._resnet_shapes import BLOCKS
from transferbench.checkpoints.targets import Arguments

NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Layer:
    """One convolution: its stage and block (from 1 and 0), its number in the block (0: the shortcut), its shape."""

    stage: int
    block: int
    number: int
    shape: tuple[int, int, int, int]


def stem_channels(arguments: Arguments) -> int:
    """Channels of the first convolution."""
    return int(64 * arguments["width"])


def stage_widths(arguments: Arguments) -> list[int]:
    """Channels that each of the four stages returns."""
    expansion = 4 if BLOCKS[arguments["depth"]][0] == "bottleneck" else 1
    return [stem_channels(arguments) * 2**stage * expansion for stage in range(4)]


def layers(arguments: Arguments) -> Iterator[Layer]:
    """Every convolution after the stem."""
    kind, counts = BLOCKS[arguments["depth"]]
    groups, channels = arguments["groups"], stem_channels(arguments)
    for stage, (count, out) in enumerate(zip(counts, stage_widths(arguments), strict=True), 1):
        inner = int(out / 4 * arguments["width_per_group"] / 64) * groups
        for block in range(count):
            if kind == "bottleneck":
                shapes = [(inner, channels, 1, 1), (inner, inner // groups, 3, 3), (out, inner, 1, 1)]
            else:
                shapes = [(out, channels, 3, 3), (out, out, 3, 3)]
            yield from (Layer(stage, block, number, shape) for number, shape in enumerate(shapes, 1))
            if block == 0 and (stage > 1 or channels != out):
                yield Layer(stage, block, 0, (out, channels, 1, 1))
            channels = out


def norm(name: str, channels: int, counter: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a batch norm."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}.{part}": (channels,) for part in NORM}
    return {**shapes, f"{name}.num_batches_tracked": ()} if counter else shapes
