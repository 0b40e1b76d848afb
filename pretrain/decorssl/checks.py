"""Checks of a recipe, its images and the processes before training starts."""

from decorssl.methods import METHODS, Method, Taught
from decorssl.recipe import Recipe
from transferbench.errors import UserError
from transferbench.runtime import Runtime


def check(recipe: Recipe, images: int, runtime: Runtime) -> None:
    """Raise a UserError for numbers that are inconsistent."""
    if recipe.batch_size > images:
        raise UserError(
            f"batch_size {recipe.batch_size} is more than the {images} training images. "
            f"Use --set batch_size={2 ** (images.bit_length() - 1)} or less."
        )
    if recipe.batch_size % (recipe.micro_batch_size or 1):
        raise UserError(
            f"batch_size {recipe.batch_size} is not a multiple of micro_batch_size {recipe.micro_batch_size}, so "
            "batch statistics would come from parts of different sizes. Choose one that divides it."
        )
    for name, size in (("batch_size", recipe.batch_size), ("micro_batch_size", recipe.micro_batch_size or 0)):
        if size % runtime.world_size:
            raise UserError(
                f"{name} {size} (global, as all batches) cannot be split evenly over {runtime.world_size} processes. "
                "Choose a multiple."
            )
    method: Method = METHODS.load(recipe.method)
    routes = method.routes(recipe.config, len(recipe.views))
    if routes.teacher and not isinstance(method, Taught):
        raise UserError(
            f"The method {recipe.method} sends views to a teacher. Expected `momentum(context)` in its file."
        )
    method.check(recipe.config, recipe.batch_size // runtime.world_size, recipe.projector.output)
    if recipe.precision == "auto":
        raise ValueError("precision 'auto' must be resolved before training")
