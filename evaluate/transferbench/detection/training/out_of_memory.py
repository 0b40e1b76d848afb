"""Messages when memory runs out, with the settings that need less."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from transferbench.detection.recipe import DetectionRecipe
from transferbench.errors import UserError

CPU_ALLOCATOR = "DefaultCPUAllocator"
"""This word in torch's plain RuntimeError means that the machine's memory is exhausted."""


@contextmanager
def for_training(recipe: DetectionRecipe) -> Iterator[None]:
    """Out of memory inside becomes a UserError with the number of images and the settings that need less."""
    cure = (
        "Use fewer, which scales the learning rate too (detect.batch_size=8), smaller ones (INPUT.MIN_SIZE_TRAIN), "
        "or half precision (SOLVER.AMP.ENABLED True)."
    )
    with _told(f"{recipe.SOLVER.IMS_PER_BATCH} images per iteration. {cure}"):
        yield


@contextmanager
def for_testing(recipe: DetectionRecipe) -> Iterator[None]:
    """The same, of one image at the size it is tested at."""
    cure = "Test smaller ones (INPUT.MIN_SIZE_TEST) or fewer regions of each (MODEL.RPN.POST_NMS_TOPK_TEST)."
    with _told(f"one test image of {recipe.INPUT.MIN_SIZE_TEST} pixels. {cure}"):
        yield


@contextmanager
def _told(load: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(f"Out of GPU memory with {load}") from None
    except MemoryError:
        raise UserError(f"Out of memory with {load}") from None
    except RuntimeError as error:
        if CPU_ALLOCATOR not in str(error):
            raise
        raise UserError(f"Out of memory with {load}") from None
