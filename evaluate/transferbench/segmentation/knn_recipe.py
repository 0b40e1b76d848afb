"""The settings of dense nearest neighbors, and the published protocols as presets of them."""

from typing import ClassVar

import pydantic
from pydantic import Field

from transferbench.data.label_maps import LabelRule
from transferbench.segmentation.dense_features import DenseReading
from transferbench.segmentation.examples import Sizing
from transferbench.segmentation.kept_patches import Remembering
from transferbench.segmentation.patch_choice import Choosing
from transferbench.segmentation.patch_predictions import ScoredAt
from transferbench.segmentation.scoring import Scoring

SQUARE = {"resize": "square", "scored_at": "resolution"}


class KnnRecipe(DenseReading, Sizing, LabelRule, Remembering, Choosing, Scoring):
    """Everything that could change the score. Where the presets come from: docs/protocols.md#segment-knn."""

    PRESETS: ClassVar = {
        "capi": {
            "resolution": 224,
            "interpolation": "bicubic",
            "resize_masks": "pillow nearest",
            "vote": "pixels",
            "ks": (1, 3, 10, 30),
            "metrics": ("cosine", "euclidean"),
            "held_out": 0.1,
            "standardize": True,
            "absent": "left out",
            **SQUARE,
        },
        "hummingbird": {
            "resolution": 512,
            "interpolation": "bilinear",
            "resize_masks": "torch nearest",
            "vote": "shares",
            "ks": (30,),
            "metrics": ("cosine",),
            "temperature": 0.02,
            "uncounted": False,
            "augmented_passes": 2,
            "memory_patches": 10_240_000,
            "standardize": False,
            "matched": True,
            "absent": "0",
            **SQUARE,
        },
    }
    SOURCES: ClassVar = {
        "capi": "facebookresearch/capi eval_segmentation.py",
        "hummingbird": "vpariza/open-hummingbird-eval hbird/hbird_eval.py, README.md",
    }

    temperature: float = Field(0.02, gt=0, description="vote=shares: temperature in exp(cosine / temperature)")
    matched: bool = Field(
        False, description="each predicted class is scored as one true class, so that the sum of IoU is largest"
    )
    scored_at: ScoredAt = Field(
        "original",
        description="maps are enlarged to the label map as it is, or it is resized to what the backbone sees",
    )

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "KnnRecipe":
        usual = type(self).model_fields["temperature"].default
        if self.vote == "shares" and self.metrics != ("cosine",):
            raise ValueError("vote=shares weights by cosines: set metrics=[cosine], or vote=pixels")
        if self.vote == "pixels" and self.temperature != usual:
            raise ValueError(f"vote=pixels has no temperature, found {self.temperature:g}: leave it at {usual:g}")
        if self.augmented_passes and self.resize != "square":
            raise ValueError("augmented_passes: augmented images are squares: set resize=square, or augmented_passes=0")
        if self.whole_patches == "padded":
            raise ValueError("whole_patches=padded: the zeros around an image have no class: set whole_patches=rounded")
        return self
