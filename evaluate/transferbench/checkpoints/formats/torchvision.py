"""torchvision: plain ResNet names, its own ViT names, and the files of its training script (supervised)."""

from transferbench.checkpoints.formats import ROOT, EncoderSpec, Layout

PLACES = (ROOT, "state_dict", "model", "model_state_dict", "network")
ENCODERS = (EncoderSpec("backbone", "", PLACES), EncoderSpec("ema", "", ("model_ema",)))

LAYOUTS = (
    Layout(ENCODERS, evidence=(r"layer\d\.\d+\.conv1\.weight",)),
    Layout(ENCODERS, evidence=(r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight",)),
)
