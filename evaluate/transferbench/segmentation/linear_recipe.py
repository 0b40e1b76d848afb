"""The settings of a linear head for segmentation, and those that others published."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from transferbench import optim
from transferbench.data.label_maps import LabelRule
from transferbench.segmentation.batched_heads import HeadRecipe
from transferbench.segmentation.dense_features import DenseReading
from transferbench.segmentation.examples import Sizing
from transferbench.segmentation.inference import Inference
from transferbench.segmentation.scoring import Scoring
from transferbench.segmentation.training_examples import Augmentation

Schedule = Literal["poly", "cosine", "constant"]
PASTED = {
    "resolution": 512,
    "crop": 512,
    "resize_masks": "torch nearest",
    "loss_over": "all",
    "iterations": 40_000,
    "batch_size": 16,
}
"""What mmsegmentation's recipes and DINOv3's share. OpenCV, with which it resizes, has torch's law."""
SLIDING = {"inference": "slide", "window": 512, "stride": 341}
WARM = {"schedule": "poly", "power": 1.0, "warmup_iterations": 1500, "warmup_start": 1e-6}


class LinearRecipe(DenseReading, Sizing, LabelRule, Augmentation, HeadRecipe, Inference, Scoring):
    """Everything that could change the score. Where the presets come from: docs/protocols.md#segment-linear."""

    PRESETS: ClassVar = {
        "dinov2": {
            **PASTED,
            **SLIDING,
            **WARM,
            "whole_patches": "padded",
            "lrs": (1e-3,),
            "weight_decay": 1e-4,
        },
        "dinov2-ms": {
            **PASTED,
            **WARM,
            "layer": "last:4",
            "whole_patches": "padded",
            "resolution": 518,
            "crop": 518,
            "scale": (1.0, 3.0),
            "inference": "slide",
            "window": 518,
            "stride": 259,
            "scales": (1.0, 1.32, 1.73, 2.28, 3.0),
            "flips": True,
            "lrs": (1e-3,),
            "weight_decay": 1e-4,
        },
        "dinov3": {
            **PASTED,
            **SLIDING,
            "schedule": "cosine",
            "warmup_iterations": 1500,
            "warmup_start": 1e-6,
            "hue": 0.5,
            "dropout": 0.1,
            "lrs": (1e-3,),
            "weight_decay": 1e-3,
        },
        "capi": {
            "resolution": 224,
            "resize": "square",
            "interpolation": "bicubic",
            "resize_masks": "pillow nearest",
            "scale": (1.0, 1.0),
            "most_of_one": 1.0,
            "flip": 0.0,
            "distort": False,
            "trained_at": "majority",
            "enlarge": "nearest",
            "scored_at": "resolution",
            "held_out": 0.1,
            "refit": True,
        },
        "vicregl": {
            **PASTED,
            "dilated": True,
            "dropout": 0.1,
            "optimizer": "sgd",
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "lrs": (0.01,),
            "schedule": "poly",
            "power": 0.9,
            "lr_floor": 1e-4,
        },
        "vicregl-convnext": {
            **PASTED,
            **SLIDING,
            **WARM,
            "layer": "last:4",
            "lrs": (1e-4,),
            "weight_decay": 0.05,
        },
    }
    SOURCES: ClassVar = {
        "dinov2": "second-hand: Jiawei-Yang/Denoising-ViT evaluation/configs/vitb_voc2012_linear_config.py",
        "dinov2-ms": "second-hand: zshn25/DINOv2_mmseg configs/dinov2_vitb14_ade20k_ms_config.py",
        "dinov3": "facebookresearch/dinov3 eval/segmentation/configs/config-ade20k-linear-training.yaml",
        "capi": "facebookresearch/capi eval_segmentation.py, but for the solver",
        "vicregl": "facebookresearch/VICRegL segmentation/configs/linear_r50_512x512_40k_voc12aug.py",
        "vicregl-convnext": "facebookresearch/VICRegL segmentation/configs/"
        "linear_cnxt-s_public_512x512_40k_BN_voc12aug.py",
    }

    iterations: int = Field(4000, ge=1, description="batches that heads are trained on")
    batch_size: int = Field(16, ge=1, description="images of a batch, over all processes")
    lrs: tuple[float, ...] = Field(
        (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        min_length=1,
        description="learning rates, trained side by side; held-out training images choose one where there are several",
    )
    schedule: Schedule = Field("poly", description="of the rates, by iterations: poly falls as (1 - done)^power")
    power: float = Field(1.0, gt=0, description="schedule=poly: its power")
    lr_floor: float = Field(0.0, ge=0, description="schedule=poly: what the rate ends at")
    warmup_iterations: int = Field(0, ge=0, description="iterations in which the rate rises to its schedule")
    warmup_start: float = Field(1e-6, ge=0, le=1, description="share of the rate that it rises from")
    held_out: float = Field(
        0.1, gt=0, lt=1, description="share of the training images held out to choose, where there are several rates"
    )
    refit: bool = Field(False, description="the chosen rate is trained anew on all training images")

    @model_validator(mode="after")
    def _consistent(self) -> "LinearRecipe":
        if min(self.lrs) <= 0:
            raise ValueError("learning rates must be above 0")
        if len(set(self.lrs)) < len(self.lrs):
            raise ValueError("a learning rate is there twice")
        return self

    def rates(self, iteration: int) -> list[float]:
        """Every head's learning rate at an iteration, counted from 0; mmcv's polynomial and warm-up."""
        done = iteration / self.iterations
        risen = iteration / self.warmup_iterations if iteration < self.warmup_iterations else 1.0
        warm = 1 - (1 - risen) * (1 - self.warmup_start)
        match self.schedule:
            case "poly":
                share = (1 - done) ** self.power
                return [warm * ((lr - self.lr_floor) * share + self.lr_floor) for lr in self.lrs]
            case "cosine":
                return [warm * lr * optim.cosine(iteration, self.iterations) for lr in self.lrs]
            case "constant":
                return [warm * lr for lr in self.lrs]
