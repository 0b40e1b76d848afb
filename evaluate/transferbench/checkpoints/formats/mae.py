"""MAE (facebookresearch/mae): encoder and decoder in one, published encoders, fine-tuned and probed networks."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled

BLOCK = r"blocks\.\d+\.attn\.qkv\.weight"


def settle(architecture: Architecture, file: File) -> Settled:
    """Fine-tuned networks norm the mean of the patches (docs/checkpoints.md#heads)."""
    if not architecture.arguments.get("norm_pooled"):
        return Settled()
    return Settled({"pooling": "mean"}, ("features are normed after the mean over the patches (fc_norm)",))


LAYOUTS = (
    Layout((EncoderSpec("online"),), evidence=(BLOCK, r"decoder_blocks\.\d+\.[\w.]+"), beside=("model",), method="mae"),
    Layout(evidence=(BLOCK, r"fc_norm\.weight"), beside=("model",), settle=settle, method="mae"),
    Layout(evidence=(BLOCK, r"head\.0\.running_mean", r"head\.1\.weight"), beside=("model",), method="mae"),
    Layout(evidence=(BLOCK,), beside=("model",), method="mae", names_only=True),
)
