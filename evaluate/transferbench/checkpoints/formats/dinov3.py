"""DINOv3's vision transformers (facebookresearch/dinov3): published backbones, a training's teacher, other libraries.

Features are the class token: what `dinov3/eval/knn.py` and transformers' pooler take, and not timm (mean of patches).
"""

import torch

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled
from transferbench.checkpoints.naming.dinov3 import PERIODS
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError

TEMPERATURE = 100.0
SATELLITE = "ImageNet's normalization; the networks of satellite images (SAT-493M) have another, which no file holds"


def settle(architecture: Architecture, file: File) -> Settled:
    """The class token; rotary periods as they lie in the file, rounded to bfloat16 in published ones.

    Raises:
        UserError: when a file holds several that differ.
    """
    if architecture.family != "timm":
        return Settled()
    held = [t.float() for name, t in file.state.tensors.items() if name.endswith(PERIODS) and t.ndim == 1]
    if any(each.shape != held[0].shape or not torch.equal(each, held[0]) for each in held):
        raise UserError("Its networks have different rotary periods. Save the one to be judged alone.")
    usual = [TEMPERATURE ** (n / len(periods)) for periods in held[:1] for n in range(len(periods))]
    if not held or torch.allclose(held[0], torch.tensor(usual), rtol=1e-6, atol=0):
        return Settled({"pooling": "token"}, (SATELLITE,))
    if not torch.isfinite(held[0]).all() or not held[0].all():
        raise UserError(f"{PERIODS} has values that are no periods: {held[0].tolist()[:8]}.")
    return Settled(
        {"pooling": "token", "buffers": {"rope.periods": held[0].tolist()}},
        (SATELLITE, "rotary periods are the file's own"),
    )


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """As `make_classification_eval_transform` does: the shorter side to 256 pixels, bicubic, and a crop of 224."""
    return Preprocess(size=256, crop=224, interpolation="bicubic")


def in_names_of_timm(file: File) -> bool:
    """Registers and scales of blocks without positions."""
    return not file.has("pos_embed")


HEAD = r"(.*\.)?"

NAMES = (HEAD + r"rope_embed\.periods", HEAD + r"blocks\.\d+\.attn\.qkv\.weight", HEAD + r"blocks\.0\.ls1\.gamma")

LAYOUTS = (
    Layout(evidence=NAMES, settle=settle, preprocess=preprocess, method="dinov3"),
    Layout(
        (EncoderSpec("teacher", "backbone.", ("teacher", "model")), EncoderSpec("student", "backbone.", ("student",))),
        evidence=(*NAMES, r"backbone\.cls_token"),
        settle=settle,
        preprocess=preprocess,
        method="dinov3",
    ),
    Layout(
        (EncoderSpec(), EncoderSpec("backbone", "model."), EncoderSpec("backbone", "dinov3_vit.")),
        evidence=(
            HEAD + r"layer\.0\.attention\.q_proj\.weight",
            HEAD + r"layer\.0\.layer_scale1\.lambda1",
            HEAD + r"embeddings\.patch_embeddings\.weight",
        ),
        settle=settle,
        preprocess=preprocess,
        method="dinov3",
    ),
    Layout(
        evidence=("reg_token", r"blocks\.0\.gamma_1", r"blocks\.0\.attn\.qkv\.weight"),
        when=in_names_of_timm,
        settle=settle,
        preprocess=preprocess,
        method="dinov3",
    ),
)
