"""MAE (facebookresearch/mae): encoder and decoder in one, published encoders, fine-tuned and probed networks."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled

BLOCK = r"blocks\.\d+\.attn\.qkv\.weight"


def settle(architecture: Architecture, file: File) -> Settled:
    """Fine-tuned networks norm the mean of the patches (docs/checkpoints.md#heads)."""
    if not architecture.arguments.get("norm_pooled"):
        return Settled()
    return Settled({"pooling": "mean"}, ("features are normed after the mean over the patches (fc_norm)",))


OTHERS = r".*(gamma_[12]|ls[12]\.gamma|relative_position\w*|[qv]_bias)"
"""What MAE's networks have none of: scales of blocks, relative positions, separate biases."""


def is_tuned(file: File) -> bool:
    """A plain network."""
    return not file.has(OTHERS)


def is_plain(file: File) -> bool:
    """A plain network without a classifier, which DeiT's files have."""
    return not file.has(OTHERS) and not file.has(r"head\.weight")


LAYOUTS = (
    Layout((EncoderSpec("online"),), evidence=(BLOCK, r"decoder_blocks\.\d+\.[\w.]+"), beside=("model",), method="mae"),
    Layout(evidence=(BLOCK, r"fc_norm\.weight"), beside=("model",), when=is_tuned, settle=settle, method="mae"),
    Layout(evidence=(BLOCK, r"head\.0\.running_mean", r"head\.1\.weight"), beside=("model",), method="mae"),
    Layout(evidence=(BLOCK,), beside=("model",), when=is_plain, method="mae", names_only=True),
)
