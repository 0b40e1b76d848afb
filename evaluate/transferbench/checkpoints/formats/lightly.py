"""lightly (lightly-ai/lightly): Lightning files of its examples and benchmarks."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

HEAD = r"(projection_head|prediction_head|prototypes|decoder\w*|online_classifier)[\w.]*"

LAYOUTS = (
    Layout(
        (
            EncoderSpec("online", "backbone."),
            EncoderSpec("ema", "backbone_momentum."),
            EncoderSpec("ema", "teacher_backbone."),
        ),
        evidence=(r"backbone\.[\w.]+", HEAD),
        beside=("pytorch-lightning_version",),
        method="lightly",
    ),
    Layout(
        (EncoderSpec("teacher", "teacher_backbone."), EncoderSpec("student", "student_backbone.")),
        evidence=(r"teacher_backbone\.[\w.]+", r"student_backbone\.[\w.]+"),
        beside=("pytorch-lightning_version",),
        method="lightly",
    ),
    Layout(
        (EncoderSpec("teacher", "teacher_backbone."), EncoderSpec("student", "backbone.")),
        evidence=(r"teacher_backbone\.[\w.]+", r"backbone\.[\w.]+", r"(teacher_head|head)\.[\w.]+"),
        beside=("pytorch-lightning_version",),
        method="lightly",
    ),
)
