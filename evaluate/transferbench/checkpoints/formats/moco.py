"""MoCo v1 and v2 (facebookresearch/moco): query and key network, each with its projector in `fc`, and the queue."""

from transferbench.checkpoints.formats import Drop, Encoder, Layout

LAYOUTS = (
    Layout(
        encoders=(
            Encoder("online", "encoder_q.", ("state_dict",)),
            Encoder("ema", "encoder_k.", ("state_dict",)),
        ),
        evidence=(r"encoder_q\.[\w.]+", r"queue"),
        heads=(Drop(r"fc\.([02]\.)?(weight|bias)", "projector"),),
        others=(Drop(r"queue(_ptr)?", "queue"),),
        method="moco",
    ),
)
