"""stable-pretraining (rbalestr-lab): Lightning files, networks by name, probes and queues in `callbacks_modules`."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

CALLBACKS = r"callbacks_(modules|metrics)\.[\w.]+"
BESIDE = ("pytorch-lightning_version",)

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", CALLBACKS),
        beside=BESIDE,
        method="stable_pretraining",
    ),
    Layout(
        (EncoderSpec("ema", "backbone.teacher."), EncoderSpec("online", "backbone.student.")),
        evidence=(r"backbone\.teacher\.[\w.]+", r"backbone\.student\.[\w.]+", CALLBACKS),
        beside=BESIDE,
        method="stable_pretraining",
    ),
)
