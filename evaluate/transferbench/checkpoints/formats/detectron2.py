"""Detectron2: pickles for its zoo, converted weights, and its own training files (plain, C4 or FPN)."""

import re

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

BGR = {"channel_order": "bgr", "input_range": 255}
MEAN = (103.53, 116.28, 123.675)
STD = (57.375, 57.12, 58.395)


def _is_msra(file: File) -> bool:
    return bool(re.search("caffe|msra|detectron", file.word("__author__"), re.IGNORECASE))


def settle(architecture: Architecture, file: File) -> Settled:
    """MSRA's and Caffe2's bottlenecks stride in their first convolution (docs/checkpoints.md#traps)."""
    if architecture.family != "resnet" or architecture.arguments["depth"] < 26:
        return Settled()
    if _is_msra(file):
        said = f"the stride is in the 1x1 convolutions, as in weights by {file.word('__author__')} (stride_in_1x1)"
        return Settled({"stride_in_1x1": True}, (said,))
    return Settled(assumed=("the stride is in the 3x3 convolutions (MSRA's and Caffe2's: --as stride_in_1x1=true)",))


def trained(architecture: Architecture, file: File) -> Preprocess:
    """BGR from 0 to 255, Detectron2's default."""
    return imagenet(architecture).model_copy(update={**BGR, "mean": MEAN, "std": STD})


def converted(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's; for MSRA's weights BGR from 0 to 255 without deviation."""
    changed = {**BGR, "mean": MEAN, "std": (1.0, 1.0, 1.0)} if _is_msra(file) else {}
    return imagenet(architecture).model_copy(update=changed)


def bgr(architecture: Architecture, file: File) -> Settled:
    """As `settle`, and what is taken for granted of the images."""
    settled = settle(architecture, file)
    return Settled(settled.arguments, (*settled.assumed, "images are BGR from 0 to 255, Detectron2's default"))


STEM = r"(.*\.)?stem\.conv1\.norm\.weight"
BLOCK = r"(.*\.)?res2\.0\.conv1\.weight"
RES5 = r"roi_heads\.res5\.0\.conv1\.weight"
"""The fifth stage of a C4 detector lies in its heads."""

LAYOUTS = (
    Layout((EncoderSpec(),), evidence=(STEM, BLOCK), settle=settle, preprocess=converted),
    Layout(
        (EncoderSpec("backbone", "backbone.bottom_up."), EncoderSpec("backbone", "backbone.")),
        evidence=(STEM, BLOCK),
        settle=bgr,
        preprocess=trained,
    ),
    Layout((EncoderSpec(),), evidence=(STEM, BLOCK, RES5), settle=bgr, preprocess=trained),
)
