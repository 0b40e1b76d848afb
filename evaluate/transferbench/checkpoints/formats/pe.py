"""Perception Encoder (facebookresearch/perception_models): PE-Core's image encoder, PE-Spatial, PE-Lang.

Features of PE-Core are those of its attention pool before the projection into the space of texts, as CLIP's; of the
others, which its authors evaluate as maps, the mean of the patches.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)
POOLED = "features are the patches' mean: the source evaluates this network's maps and pools nothing"


def settle(architecture: Architecture, file: File) -> Settled:
    """What pools the patches where the source pools nothing."""
    return Settled() if "_core_" in str(architecture.arguments.get("name")) else Settled(assumed=(POOLED,))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """Both sides to the size of the network, bilinear, with mean and deviation 0.5."""
    side = imagenet(architecture).crop
    return Preprocess(mean=HALF, std=HALF, size=side, resize="square", crop=side)


def is_plain(file: File) -> bool:
    """No norm behind the blocks and no projection, which CLIP's networks have."""
    return not file.has(r"(visual\.)?(ln_post\.(weight|bias)|proj)")


BLOCK = r"(visual\.)?transformer\.resblocks\.0\.attn\.in_proj_weight"

LAYOUTS = (
    Layout(
        (EncoderSpec("image encoder", "visual."),),
        evidence=(r"visual\.attn_pool\.probe", r"visual\.ln_pre\.weight", BLOCK),
        preprocess=preprocess,
        method="pe",
    ),
    Layout(evidence=(r"attn_pool\.probe", r"ln_pre\.weight", BLOCK), preprocess=preprocess, method="pe"),
    Layout(
        (EncoderSpec(), EncoderSpec("backbone", "visual.")),
        evidence=(r"(visual\.)?ln_pre\.weight", r"(visual\.)?conv1\.weight", BLOCK),
        when=is_plain,
        settle=settle,
        preprocess=preprocess,
        method="pe",
    ),
)
