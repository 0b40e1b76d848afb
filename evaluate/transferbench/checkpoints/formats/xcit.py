"""XCiT (facebookresearch/xcit), and DINO's: the class token after its attention and the last norm.

What XCiT's own `forward` gives without a classifier, which DINO's `eval_knn.py` and `eval_linear.py` take.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import File, Layout, imagenet
from transferbench.data.transforms import Preprocess


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's, bicubic."""
    return imagenet(architecture).model_copy(update={"interpolation": "bicubic"})


LAYOUTS = (
    Layout(evidence=(r"pos_embeder\.token_projection\.weight", r"cls_attn_blocks\.0\.[\w.]+"), preprocess=preprocess),
)
