"""MSN and I-JEPA (facebookresearch): the target encoder, a moving average, is evaluated."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

ENCODERS = (EncoderSpec("target_encoder", "", ("target_encoder",)), EncoderSpec("encoder", "", ("encoder",)))

LAYOUTS = (Layout(ENCODERS, beside=("encoder", "target_encoder"), evidence=(r"blocks\.0\.[\w.]+",), method="msn"),)
