"""The keys of Detectron2's configuration that decide how a detector is fed, trained and tested, with its defaults."""

from typing import Literal

from pydantic import Field

from transferbench.settings import Settings


class CropKeys(Settings):
    """`INPUT.CROP`: never."""

    ENABLED: Literal[False] = False


class InputKeys(Settings):
    """`INPUT`; sizes in pixels."""

    FORMAT: Literal["RGB", "BGR"] = "BGR"
    MASK_FORMAT: Literal["polygon"] = "polygon"
    MIN_SIZE_TRAIN: tuple[int, ...] = Field(default=(800,), min_length=1)
    MIN_SIZE_TRAIN_SAMPLING: Literal["choice", "range"] = "choice"
    MAX_SIZE_TRAIN: int = Field(default=1333, ge=1)
    MIN_SIZE_TEST: int = Field(default=800, ge=0)
    MAX_SIZE_TEST: int = Field(default=1333, ge=1)
    RANDOM_FLIP: Literal["horizontal", "none"] = "horizontal"
    CROP: CropKeys = CropKeys()


class DatasetKeys(Settings):
    """`DATASETS`: names the data sources know."""

    TRAIN: tuple[str, ...] = ()
    TEST: tuple[str, ...] = ()


class LoaderKeys(Settings):
    """`DATALOADER`."""

    NUM_WORKERS: int = Field(default=4, ge=0)
    ASPECT_RATIO_GROUPING: bool = True
    SAMPLER_TRAIN: Literal["TrainingSampler"] = "TrainingSampler"
    FILTER_EMPTY_ANNOTATIONS: bool = True


class ClipKeys(Settings):
    """`SOLVER.CLIP_GRADIENTS`."""

    ENABLED: bool = False
    CLIP_TYPE: Literal["value", "norm"] = "value"
    CLIP_VALUE: float = Field(default=1.0, gt=0)
    NORM_TYPE: float = Field(default=2.0, gt=0)


class SwitchKeys(Settings):
    """A group that is on or off, such as `SOLVER.AMP`."""

    ENABLED: bool = False


class SolverKeys(Settings):
    """`SOLVER`; periods and steps in iterations."""

    LR_SCHEDULER_NAME: Literal["WarmupMultiStepLR"] = "WarmupMultiStepLR"
    IMS_PER_BATCH: int = Field(default=16, ge=1, description="images in an iteration, over all processes")
    MAX_ITER: int = Field(default=40000, ge=1)
    STEPS: tuple[int, ...] = (30000,)
    GAMMA: float = Field(default=0.1, gt=0)
    BASE_LR: float = Field(default=0.001, gt=0)
    MOMENTUM: float = Field(default=0.9, ge=0)
    NESTEROV: bool = False
    WEIGHT_DECAY: float = Field(default=0.0001, ge=0)
    WEIGHT_DECAY_NORM: float = Field(default=0.0, ge=0)
    WEIGHT_DECAY_BIAS: float | None = Field(default=None, description="none: as WEIGHT_DECAY")
    BIAS_LR_FACTOR: float = 1.0
    WARMUP_METHOD: Literal["linear", "constant"] = "linear"
    WARMUP_FACTOR: float = Field(default=0.001, gt=0)
    WARMUP_ITERS: int = Field(default=1000, ge=0)
    CHECKPOINT_PERIOD: int = Field(default=5000, ge=1)
    CLIP_GRADIENTS: ClipKeys = ClipKeys()
    AMP: SwitchKeys = SwitchKeys()


class PreciseKeys(Settings):
    """`TEST.PRECISE_BN`."""

    ENABLED: bool = False
    NUM_ITER: int = Field(default=200, ge=1)


class TestKeys(Settings):
    """`TEST`."""

    __test__ = False

    DETECTIONS_PER_IMAGE: int = Field(default=100, ge=-1, description="-1: all")
    EVAL_PERIOD: int = Field(default=0, ge=0, description="0: at the end only")
    PRECISE_BN: PreciseKeys = PreciseKeys()
    AUG: SwitchKeys = SwitchKeys()
