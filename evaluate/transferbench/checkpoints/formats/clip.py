"""CLIP (openai/CLIP) and networks in its names (open_clip, MetaCLIP, CheXzero): the image encoder.

Features are the class token before the projection into the space of texts: those of OpenAI's linear probes (Radford et
al. 2021, appendix A.3). OpenAI's networks compute QuickGELU, most of open_clip's GELU, and no tensor tells which.
"""

import torch

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled
from transferbench.checkpoints.naming.clip import QUICK
from transferbench.data.transforms import Preprocess

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's own files hold as tensors."""


def is_openai(file: File) -> bool:
    """OpenAI's own numbers are there, or half precision in a file of torch's: what its code makes of its networks."""
    kernel = file.state.tensors.get("visual.conv1.weight")
    is_half = kernel is not None and kernel.dtype == torch.float16 and "safetensors" not in file.contents.container
    return all(name in file.state.tensors for name in SIZES) or is_half


def has_quick_gelu(architecture: Architecture, file: File) -> bool:
    """Whether it is one of timm's with OpenAI's activation."""
    return QUICK in architecture.arguments["name"]


def settle(architecture: Architecture, file: File) -> Settled:
    """Which activation, where the source settles it."""
    if QUICK not in str(architecture.arguments.get("name")):
        return Settled()
    return Settled(assumed=("QuickGELU, as OpenAI's networks compute; no tensor tells it from GELU",))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """OpenAI's: the shorter side to the size of the network, bicubic, the center cropped."""
    arguments = architecture.arguments.get("arguments", {})
    tower = architecture.arguments.get("config", {}).get("vision_cfg", {}).get("image_size")
    side = tower[0] if isinstance(tower, list) else tower
    last = str(architecture.arguments.get("name")).rpartition("_")[2]
    size = int(arguments.get("img_size") or side or (last if last.isdecimal() else 224))
    return Preprocess(mean=MEAN, std=STD, size=size, crop=size, interpolation="bicubic")


NAMES = (r"visual\.class_embedding", r"visual\.transformer\.resblocks\.0\.attn\.in_proj_weight")
VISUAL = (EncoderSpec("image encoder", "visual."),)

LAYOUTS = (
    Layout(VISUAL, evidence=NAMES, settle=settle, preprocess=preprocess, method="clip"),
    Layout(
        VISUAL,
        evidence=NAMES,
        when=is_openai,
        has=has_quick_gelu,
        settle=settle,
        preprocess=preprocess,
        method="clip",
    ),
)
