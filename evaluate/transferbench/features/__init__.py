"""Features of a data set: which layer they are taken from, and how they are extracted, once, and kept."""

from transferbench import renamed
from transferbench.features.extraction import (
    BATCH,
    FeatureSet,
    Report,
    cached,
    evaluating,
    extract,
    mine,
    stream,
    width,
)
from transferbench.features.spec import FeatureSpec, Precision, forward

__all__ = [
    "BATCH",
    "FeatureSet",
    "FeatureSpec",
    "Precision",
    "Report",
    "cached",
    "evaluating",
    "extract",
    "forward",
    "mine",
    "stream",
    "width",
]

__getattr__ = renamed.names_of(__name__)
