"""MSN and I-JEPA (facebookresearch): the target encoder, a moving average, is evaluated."""

from transferbench.checkpoints.formats import Encoder, Layout

ENCODERS = (Encoder("target_encoder", "", ("target_encoder",)), Encoder("encoder", "", ("encoder",)))

LAYOUTS = (Layout(ENCODERS, beside=("encoder", "target_encoder"), evidence=(r"blocks\.0\.[\w.]+",), method="msn"),)
