"""torchvision: plain ResNet names, its own ViT names, and the files of its training script (supervised)."""

from transferbench.checkpoints.formats import ROOT, EncoderSpec, Layout

PLACES = (ROOT, "state_dict", "model", "model_state_dict", "network")
ENCODERS = (EncoderSpec("backbone", "", PLACES), EncoderSpec("ema", "", ("model_ema",)))

NAMES = r"layer\d\.\d+\.conv1\.weight", r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight"
TRAINING = ("model", "model_ema", "lr_scheduler", "args")

LAYOUTS = (
    *(Layout(ENCODERS, evidence=(each,), names_only=True) for each in NAMES),
    *(Layout(ENCODERS, evidence=(each,), beside=TRAINING) for each in NAMES),
)
