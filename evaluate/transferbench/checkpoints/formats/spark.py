"""SparK (keyu-tian/SparK): the sparse encoder of a training file beside its decoder; published ones are flat.

Features are the mean of the last map; of a ConvNeXt through the norm with which fine-tuning begins.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled
from transferbench.checkpoints.formats.convnext import settle as settle_convnext


def settle(architecture: Architecture, file: File) -> Settled:
    """Of a ConvNeXt, whether the last norm is in the file."""
    return settle_convnext(architecture, file) if architecture.family == "timm" else Settled()


LAYOUTS = (
    Layout(
        (EncoderSpec("encoder", "sparse_encoder.sp_cnn."),),
        evidence=(r"sparse_encoder\.sp_cnn\.[\w.]+", r"dense_decoder\.[\w.]+", r"densify_norms\.0\.weight"),
        settle=settle,
        method="spark",
    ),
)
