"""stable-pretraining (rbalestr-lab): Lightning files, networks by name, probes and queues in `callbacks_modules`."""

from transferbench.checkpoints.formats import Encoder, Layout

LAYOUTS = (
    Layout(
        (Encoder("ema", "backbone.teacher."), Encoder("online", "backbone.student."), Encoder("online", "backbone.")),
        evidence=(r"backbone\.[\w.]+", r"callbacks_(modules|metrics)\.[\w.]+"),
        beside=("pytorch-lightning_version",),
        method="stable_pretraining",
    ),
)
