"""Messages when training cannot continue."""

from transferbench.detection.recipe import DetectionRecipe
from transferbench.errors import UserError


def not_finite(recipe: DetectionRecipe, iteration: int, said: str) -> UserError:
    """A loss that grew beyond measure, in an iteration counted from 1."""
    return UserError(
        f"The loss is not finite in iteration {iteration} ({said}). Lower SOLVER.BASE_LR, now "
        f"{recipe.SOLVER.BASE_LR}, or warm up longer (SOLVER.WARMUP_ITERS)."
    )


def nothing_to_learn(name: str, split: str) -> UserError:
    """A split without a single object that is trained on."""
    return UserError(f"No image of {name}/{split} has an object that can be learned.")
