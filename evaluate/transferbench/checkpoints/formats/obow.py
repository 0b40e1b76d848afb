"""OBoW (valeoai/obow): student and teacher, feature extractors alone, and its torchvision format with visual words."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (
            EncoderSpec("online", "feature_extractor.", ("network",)),
            EncoderSpec("ema", "feature_extractor_teacher.", ("network",)),
        ),
        evidence=(r"feature_extractor\.[\w.]+", r"bow_extractor\.[\w.]+"),
        beside=("network",),
        method="obow",
    ),
    Layout((EncoderSpec("backbone", "", ("network",)),), beside=("network",), method="obow"),
)
