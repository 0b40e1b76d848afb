"""Detectron2's ResNet: bare names as `.pth`, which its checkpointer matches to any detector by their endings."""

from pathlib import Path

import torch

from transferbench.backbones import Shapes
from transferbench.backbones._resnet_shapes import BLOCKS
from transferbench.checkpoints import Card
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.targets import Arguments, Kind, Target
from transferbench.checkpoints.targets._layers import layers, norm, stage_widths, stem_channels

DEPTHS = (18, 34, 50, 101, 152)
FREE = frozenset({"depth", "groups", "width_per_group", "width", "stride_in_1x1"})


def shapes(arguments: Arguments) -> Shapes:
    """Names and shapes of its ResNet, which has no step counters (docs/checkpoints.md#naming)."""
    channels = stem_channels(arguments)
    expected = {"stem.conv1.weight": (channels, 3, 7, 7), **norm("stem.conv1.norm", channels, counter=False)}
    for layer in layers(arguments):
        part = f"conv{layer.number}" if layer.number else "shortcut"
        name = f"res{layer.stage + 1}.{layer.block}.{part}"
        expected |= {f"{name}.weight": layer.shape, **norm(f"{name}.norm", layer.shape[0], counter=False)}
    return expected


def built(arguments: Arguments) -> str:
    """The settings of a Detectron2 configuration that go with the weights."""
    keys = {
        "DEPTH": arguments["depth"],
        "STRIDE_IN_1X1": arguments["stride_in_1x1"],
        "NUM_GROUPS": arguments["groups"],
        "WIDTH_PER_GROUP": int(arguments["width_per_group"] * arguments["width"]),
        "STEM_OUT_CHANNELS": stem_channels(arguments),
        "RES2_OUT_CHANNELS": stage_widths(arguments)[0],
    }
    return ", ".join(f"MODEL.RESNETS.{name} {value}" for name, value in keys.items())


def cannot(arguments: Arguments) -> list[str]:
    """Depths it has no table for, and wide networks of plain blocks, whose width it asserts to be 64."""
    depth, width = arguments["depth"], arguments["width"]
    reasons = [] if depth in DEPTHS else [f"depth={depth} (only {', '.join(map(str, DEPTHS))})"]
    is_plain = BLOCKS[depth][0] == "basic"
    return [*reasons, f"width={width} at depth {depth} (only 1)"] if is_plain and width != 1 else reasons


def write(path: Path, weights: Weights, card: Card) -> None:
    """`model` and the flag that has names matched by their endings (docs/checkpoints.md#detectron2-files)."""
    torch.save({"model": weights, "__author__": "transferbench", "matching_heuristics": True}, path)


TARGET = Target({"resnet": Kind(shapes, built, FREE, "detectron2 ResNet", cannot)}, (".pth",), write)
