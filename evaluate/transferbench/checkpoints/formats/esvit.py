"""EsViT (microsoft/esvit): student and teacher, each a Swin or ViT with its heads inside; the teacher is evaluated.

So say the defaults of its `eval_knn.py` and `eval_linear.py` (`--checkpoint_key teacher`).
"""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("teacher", "", ("teacher",)), EncoderSpec("student", "", ("student",))),
        evidence=(
            r"(layers\.\d+\.)?blocks\.\d+\.attn\.qkv\.weight",
            r"head\.last_layer\.(weight_[gv]|parametrizations[\w.]+)",
        ),
        beside=("student", "teacher", "dino_loss"),
        method="esvit",
    ),
)
