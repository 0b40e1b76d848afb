"""BEiT, BEiT v2, data2vec (microsoft/unilm) and EVA-02 (baaivision/EVA): masked image modeling and fine-tuned.

Features are the mean of the patches, which all of them fine-tune: normed after pooling where the file has `fc_norm`,
before it where it has the `norm` of masked image modeling.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BLOCK = r"blocks\.\d+\.attn\.(qkv|q_proj)\.weight"


def settle(architecture: Architecture, file: File) -> Settled:
    """The normalization of BEiT v2 and data2vec is ImageNet's."""
    return Settled(assumed=("mean and deviation 0.5, BEiT's; BEiT v2 and data2vec have ImageNet's: --as mean=...",))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """The size of the network, bicubic, with mean and deviation 0.5 as BEiT's code has by default."""
    return imagenet(architecture).model_copy(update={"mean": HALF, "std": HALF, "interpolation": "bicubic"})


def eva_preprocess(architecture: Architecture, file: File) -> Preprocess:
    """OpenAI's mean and deviation, bicubic."""
    usual = imagenet(architecture)
    return usual.model_copy(update={"mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": "bicubic"})


def is_eva(file: File) -> bool:
    """Neither tables of relative positions nor scales of blocks, which BEiT has."""
    return not file.has(r"(.*\.)?relative_position_bias_table") and not file.has(r"(.*\.)?gamma_1")


LAYOUTS = (
    Layout(
        evidence=(BLOCK, r"(.*\.)?relative_position_bias_table", r"blocks\.\d+\.norm1\.weight"),
        settle=settle,
        preprocess=preprocess,
        method="beit",
    ),
    Layout(
        evidence=(BLOCK, r"blocks\.\d+\.attn\.q_bias", "pos_embed"),
        when=is_eva,
        preprocess=eva_preprocess,
        method="eva02",
    ),
)
