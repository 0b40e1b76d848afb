"""Checks of a recipe, its images and the processes before training starts."""

from decorssl.catalog import generic_names
from decorssl.methods import METHODS, Method, Routes, Taught
from decorssl.recipe import Recipe
from transferbench import backbones
from transferbench.errors import UserError
from transferbench.runtime import Runtime


def check(recipe: Recipe, images: int, runtime: Runtime) -> None:
    """Raise a UserError for numbers that are inconsistent."""
    if recipe.batch_size > images:
        raise UserError(
            f"batch_size {recipe.batch_size} is more than the {images} training images. "
            f"{_smaller_batch(recipe, images, runtime.world_size)}"
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
    routes = _routes(method, recipe)
    if routes.teacher and not isinstance(method, Taught):
        raise UserError(
            f"The method {recipe.method} sends views to a teacher. Expected `momentum(context)` in its file."
        )
    _check_whitening(recipe)
    method.check(recipe.config, recipe.batch_size // runtime.world_size, recipe.projector.output)
    if recipe.precision == "auto":
        raise ValueError("precision 'auto' must be resolved before training")


def _check_whitening(recipe: Recipe) -> None:
    """Refuse the exact root of a covariance that a batch leaves singular."""
    features = backbones.width(recipe.backbone) if recipe.whitening and recipe.whitening.kind == "zca" else 0
    if recipe.batch_size <= features:
        raise UserError(
            f"whitening.kind=zca: found a batch of {recipe.batch_size} images to whiten {features} features, whose "
            "covariance is then singular. Expected more images than features: a larger --set batch_size, or --set "
            "whitening.kind=iternorm, which no singular covariance harms."
        )


def notes(recipe: Recipe, steps_per_epoch: int) -> list[str]:
    """What a schedule made for a longer run does in this one; empty when it fits."""
    return [note for note in (_warmup_note(recipe, steps_per_epoch), _drops_note(recipe)) if note]


def _routes(method: Method, recipe: Recipe) -> Routes:
    """Where the views of a recipe go. Raises UserError for a number that does not suit, saying which recipes have."""
    try:
        return method.routes(recipe.config, len(recipe.views))
    except UserError as error:
        raise UserError(
            f"{error} Take a recipe with as many views ({', '.join(generic_names())} have 2), or write your own:\n"
            f"  base: {recipe.name.removeprefix(f'{recipe.method}-')}\n  method: {recipe.method}\n"
            f"  summary: {recipe.method} with other views\n  views: [...]"
        ) from None


def _smaller_batch(recipe: Recipe, images: int, processes: int) -> str:
    """A batch of at most so many images that the method takes, with a smaller sub-batch where it needs one."""
    sizes = [processes * 2**i for i in range(images.bit_length(), 0, -1) if processes * 2**i <= images]
    if not sizes:
        return f"Train on {2 * processes} images at least, two for each process."
    for in_parts in (False, True) if "w_size" in recipe.settings else (False,):
        for size in sizes:
            parts = {"w_size": size // processes} if in_parts else {}
            changed = recipe.model_copy(update={"batch_size": size, "settings": {**recipe.settings, **parts}})
            if _refusal(changed, processes) is None:
                also = f" --set settings.w_size={parts['w_size']}" if parts else ""
                whole = " --set micro_batch_size=null" if size % (recipe.micro_batch_size or 1) else ""
                return f"Use --set batch_size={size}{also}{whole}."
    refusal = _refusal(recipe.model_copy(update={"batch_size": sizes[0]}), processes)
    return f"Use a batch_size of at most {images}. With {sizes[0]} {recipe.method} then says: {refusal}"


def _refusal(recipe: Recipe, processes: int) -> str | None:
    """Why the method does not work with this batch; None when it does."""
    try:
        METHODS.load(recipe.method).check(recipe.config, recipe.batch_size // processes, recipe.projector.output)
    except UserError as error:
        return str(error)
    return None


def _warmup_note(recipe: Recipe, steps_per_epoch: int) -> str | None:
    optim, total = recipe.optim, recipe.epochs * steps_per_epoch
    warmup = optim.warmup_length(steps_per_epoch)
    if warmup <= total:
        return None
    reached = optim.rate(total - 1, steps_per_epoch, recipe.epochs, recipe.batch_size) / optim.peak(recipe.batch_size)
    shorter = (
        f"warmup_epochs={recipe.epochs / 10:g}" if optim.warmup_steps is None else f"warmup_steps={max(1, total // 10)}"
    )
    return (
        f"Warm-up takes {warmup} steps, but the run has {total} ({steps_per_epoch} an epoch): the learning rate "
        f"reaches {100 * reached:.2g} % of its value. Add --set optim.{shorter}, or train for more epochs."
    )


def _drops_note(recipe: Recipe) -> str | None:
    drops, epochs = recipe.optim.drops_before_end, recipe.epochs
    early = [each for each in drops if each >= epochs]
    if recipe.optim.schedule != "drops" or not early:
        return None
    share = recipe.optim.drop_factor ** len(early)
    scaled = [round(epochs * each / (2 * max(drops))) for each in drops]
    fitting = ", ".join(str(each) for each in scaled if 0 < each < epochs)
    return (
        f"The learning rate drops {', '.join(map(str, early))} epochs before the end, but the run has {epochs}: it "
        f"begins at {100 * share:.2g} % of its value. Add --set 'optim.drops_before_end=[{fitting}]', or train for "
        "more epochs."
    )
