"""SwAV, DeepCluster-v2 and SeLa-v2 (facebookresearch/swav): a ResNet with projection head and prototypes inside it."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, imagenet
from transferbench.data.transforms import Preprocess

STD = (0.228, 0.224, 0.225)
"""Of this repository's training and evaluation; everyone else has 0.229 (docs/checkpoints.md#normalization)."""


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's statistics with this repository's deviation of red."""
    return imagenet(architecture).model_copy(update={"std": STD})


ENCODERS = (EncoderSpec("online"),)
HEAD = r"projection_head(\.\d)?\.weight"

LAYOUTS = (
    Layout(
        ENCODERS,
        evidence=(HEAD, r"prototypes\.(prototypes\d+\.)?weight", r"layer1\.0\.conv1\.weight"),
        preprocess=preprocess,
        method="swav",
    ),
    Layout(
        (EncoderSpec(),),
        evidence=(r"projection_head\.weight", r"layer1\.0\.conv1\.weight"),
        beside=("state_dict", "scheduler"),
        preprocess=preprocess,
        method="swav",
    ),
)
