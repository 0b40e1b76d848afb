"""What ends a training, in words."""

from transferbench.detection.recipe import Recipe
from transferbench.errors import UserError


def too_little_memory(recipe: Recipe) -> UserError:
    """A batch that the GPU cannot hold."""
    return UserError(
        f"The GPU's memory does not hold {recipe.SOLVER.IMS_PER_BATCH} images an iteration. Take fewer, which "
        "changes the learning rate with them (detect.batch_size=8), smaller ones (INPUT.MIN_SIZE_TRAIN), or half "
        "precision (SOLVER.AMP.ENABLED True)."
    )


def not_finite(recipe: Recipe, iteration: int, said: str) -> UserError:
    """A loss that grew beyond measure, in an iteration counted from 1."""
    return UserError(
        f"The loss is not finite in iteration {iteration} ({said}). Lower SOLVER.BASE_LR, now "
        f"{recipe.SOLVER.BASE_LR}, or warm up longer (SOLVER.WARMUP_ITERS)."
    )


def nothing_to_learn(name: str, split: str) -> UserError:
    """A split without a single object that is trained on."""
    return UserError(f"No image of {name}/{split} has an object that can be learnt.")


def uneven(batch: int, processes: int) -> UserError:
    """A batch that processes cannot share."""
    return UserError(f"{batch} images an iteration cannot be dealt evenly to {processes} processes.")
