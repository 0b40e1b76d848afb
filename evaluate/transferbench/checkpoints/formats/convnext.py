"""ConvNeXts in their authors' names: ConvNeXt and ConvNeXt-V2 (facebookresearch), DINOv3's, SparK's.

Features are the normed mean of the last map: what all of their classifiers and DINOv3's `eval/knn.py` take. Pretraining
with FCMAE or SparK ends without that norm; the code of both puts one there that begins with weights of 1, biases of 0.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

UNNORMED = "the file ends without the last norm: it has weights of 1 and biases of 0, as its source begins fine-tuning"
NORM = r"(.*\.)?(norm|layer_norm)\.(weight|bias)"


def settle(architecture: Architecture, file: File) -> Settled:
    """Whether the last norm is in the file."""
    is_normed = any(not name.startswith(INSIDE) for name in file.state.tensors if _is_norm(name))
    return Settled() if is_normed else Settled(assumed=(UNNORMED,))


INSIDE = ("encoder.stages.", "stages.", "sparse_encoder.sp_cnn.stages.")


def _is_norm(name: str) -> bool:
    return name.split(".")[-2:-1] in (["norm"], ["layer_norm"])


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's, bicubic."""
    return imagenet(architecture).model_copy(update={"interpolation": "bicubic"})


STEM, BLOCK = r"(.*\.)?downsample_layers\.0\.0\.weight", r"(.*\.)?stages\.0\.0\.pwconv1\.weight"
SPARSE = r"encoder\.stages\.0\.0\.dwconv\.kernel"
COPY = r"(.*\.)?norms\.3\.weight"
SAVED = (
    r"(.*\.)?stages\.0\.layers\.0\.depthwise_conv\.weight",
    r"(.*\.)?stages\.0\.layers\.0\.pointwise_conv1\.weight",
)

LAYOUTS = (
    Layout(evidence=(STEM, BLOCK), settle=settle, preprocess=preprocess),
    Layout(evidence=(STEM, BLOCK, COPY), settle=settle, preprocess=preprocess, method="dinov3"),
    Layout(
        evidence=(STEM, BLOCK, r"(.*\.)?stages\.0\.0\.grn\.gamma"),
        beside=("model",),
        settle=settle,
        preprocess=preprocess,
        method="fcmae",
    ),
    Layout(
        (EncoderSpec("encoder", "encoder."),),
        evidence=(SPARSE, r"encoder\.stages\.0\.0\.grn\.gamma"),
        settle=settle,
        preprocess=preprocess,
        method="fcmae",
    ),
    Layout(
        (EncoderSpec("teacher", "backbone.", ("teacher", "model")), EncoderSpec("student", "backbone.", ("student",))),
        evidence=(STEM, BLOCK, COPY, r"backbone\.norm\.weight"),
        settle=settle,
        preprocess=preprocess,
        method="dinov3",
    ),
    Layout((EncoderSpec(), EncoderSpec("backbone", "model.")), evidence=SAVED, preprocess=preprocess, method="dinov3"),
)
