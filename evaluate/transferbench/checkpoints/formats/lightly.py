"""lightly (lightly-ai/lightly): Lightning files of its examples and benchmarks."""

from transferbench.checkpoints.formats import Encoder, Layout

HEAD = r"(projection_head|prediction_head|prototypes|decoder\w*|online_classifier)[\w.]*"

LAYOUTS = (
    Layout(
        (Encoder("online", "backbone."), Encoder("ema", "backbone_momentum."), Encoder("ema", "teacher_backbone.")),
        evidence=(r"backbone\.[\w.]+", HEAD),
        beside=("pytorch-lightning_version",),
        method="lightly",
    ),
    Layout(
        (Encoder("teacher", "teacher_backbone."), Encoder("student", "student_backbone.")),
        evidence=(r"teacher_backbone\.[\w.]+", r"student_backbone\.[\w.]+"),
        beside=("pytorch-lightning_version",),
        method="lightly",
    ),
    Layout(
        (Encoder("teacher", "teacher_backbone."), Encoder("student", "backbone.")),
        evidence=(r"teacher_backbone\.[\w.]+", r"backbone\.[\w.]+", r"(teacher_head|head)\.[\w.]+"),
        beside=("pytorch-lightning_version",),
        method="lightly",
    ),
)
