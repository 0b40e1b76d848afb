"""The keys of Detectron2's configuration that decide how a detector is fed, trained and tested, with its defaults."""

from typing import Literal

from pydantic import Field

from transferbench.settings import Settings


class CropKeys(Settings):
    """`INPUT.CROP`: never."""

    ENABLED: Literal[False] = Field(default=False, description="images are not cropped")


class InputKeys(Settings):
    """`INPUT`; sizes in pixels."""

    FORMAT: Literal["RGB", "BGR"] = Field(default="BGR", description="order of the channels; follows the checkpoint")
    MASK_FORMAT: Literal["polygon"] = Field(default="polygon", description="how annotated masks are written")
    MIN_SIZE_TRAIN: tuple[int, ...] = Field(
        default=(800,), min_length=1, description="shorter side in training, pixels; drawn from these"
    )
    MIN_SIZE_TRAIN_SAMPLING: Literal["choice", "range"] = Field(
        default="choice", description="drawn from the list, or between its two"
    )
    MAX_SIZE_TRAIN: int = Field(default=1333, ge=1, description="longer side in training at most, pixels")
    MIN_SIZE_TEST: int = Field(default=800, ge=0, description="shorter side in testing, pixels; 0: not resized")
    MAX_SIZE_TEST: int = Field(default=1333, ge=1, description="longer side in testing at most, pixels")
    RANDOM_FLIP: Literal["horizontal", "none"] = Field(default="horizontal", description="with probability 0.5")
    CROP: CropKeys = CropKeys()


class DatasetKeys(Settings):
    """`DATASETS`: splits by Detectron2's names. One that the data set has not is refused."""

    TRAIN: tuple[str, ...] = Field(
        default=(), description="splits that are trained on, such as voc_2007_trainval; none: all of the data set"
    )
    TEST: tuple[str, ...] = Field(default=(), description="splits that are tested on; none: all")


class LoaderKeys(Settings):
    """`DATALOADER`."""

    NUM_WORKERS: int = Field(default=4, ge=0, description="no effect: see --workers")
    ASPECT_RATIO_GROUPING: bool = Field(default=True, description="wide images go with wide ones")
    SAMPLER_TRAIN: Literal["TrainingSampler"] = Field(
        default="TrainingSampler", description="every image once before any comes again"
    )
    FILTER_EMPTY_ANNOTATIONS: bool = Field(default=True, description="images without objects are left out of training")


class ClipKeys(Settings):
    """`SOLVER.CLIP_GRADIENTS`."""

    ENABLED: bool = Field(default=False, description="gradients are clipped")
    CLIP_TYPE: Literal["value", "norm"] = Field(default="value", description="each value, or the norm of each tensor")
    CLIP_VALUE: float = Field(default=1.0, gt=0, description="the bound")
    NORM_TYPE: float = Field(default=2.0, gt=0, description="which p-norm")


class SwitchKeys(Settings):
    """A group that is on or off, such as `SOLVER.AMP`."""

    ENABLED: bool = Field(default=False, description="on or off")


class SolverKeys(Settings):
    """`SOLVER`; periods and steps in iterations."""

    LR_SCHEDULER_NAME: Literal["WarmupMultiStepLR"] = Field(
        default="WarmupMultiStepLR", description="linear warm-up, then drops"
    )
    IMS_PER_BATCH: int = Field(default=16, ge=1, description="images per iteration, over all processes")
    MAX_ITER: int = Field(default=40000, ge=1, description="iterations in all")
    STEPS: tuple[int, ...] = Field(default=(30000,), description="iterations at which the rate drops")
    GAMMA: float = Field(default=0.1, gt=0, description="factor on the rate at each")
    BASE_LR: float = Field(default=0.001, gt=0, description="learning rate for IMS_PER_BATCH images")
    MOMENTUM: float = Field(default=0.9, ge=0, description="of SGD")
    NESTEROV: bool = Field(default=False, description="Nesterov's momentum")
    WEIGHT_DECAY: float = Field(default=0.0001, ge=0, description="added to the gradient")
    WEIGHT_DECAY_NORM: float = Field(default=0.0, ge=0, description="the same for normalization parameters")
    WEIGHT_DECAY_BIAS: float | None = Field(default=None, description="none: as WEIGHT_DECAY")
    BIAS_LR_FACTOR: float = Field(default=1.0, description="factor on the rate of biases")
    WARMUP_METHOD: Literal["linear", "constant"] = Field(default="linear", description="the rate rises, or is held low")
    WARMUP_FACTOR: float = Field(default=0.001, gt=0, description="share of the rate at the first iteration")
    WARMUP_ITERS: int = Field(default=1000, ge=0, description="iterations of the warm-up")
    CHECKPOINT_PERIOD: int = Field(default=5000, ge=1, description="no effect on numbers: iterations between saves")
    CLIP_GRADIENTS: ClipKeys = ClipKeys()
    AMP: SwitchKeys = SwitchKeys()


class PreciseKeys(Settings):
    """`TEST.PRECISE_BN`."""

    ENABLED: bool = Field(
        default=False, description="batch-norm statistics are measured again before testing (precise BN)"
    )
    NUM_ITER: int = Field(default=200, ge=1, description="number of batches for it")


class TestKeys(Settings):
    """`TEST`."""

    __test__ = False

    DETECTIONS_PER_IMAGE: int = Field(default=100, ge=-1, description="detections kept per image, by score; -1: all")
    EVAL_PERIOD: int = Field(default=0, ge=0, description="0: at the end only")
    PRECISE_BN: PreciseKeys = PreciseKeys()
    AUG: SwitchKeys = SwitchKeys()
