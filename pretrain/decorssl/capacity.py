"""How large a batch the GPU would hold, measured when it did not hold the one asked for."""

import gc

import torch

from decorssl.loop import Training
from decorssl.views import Views
from transferbench.data.loading import generator
from transferbench.errors import UserError

SHARE = 0.9
"""Of the memory that may be planned with; the rest is for the loss and for what the allocator cannot use."""


def out_of_memory(training: Training) -> UserError:
    """What to say, with the largest global batch that would fit here, from two small ones run forward and backward."""
    recipe, processes = training.recipe, training.runtime.world_size
    name = "micro_batch_size" if recipe.micro_batch_size else "batch_size"
    asked = recipe.micro_batch_size or recipe.batch_size
    batch = fitting(training)
    fits = batch if batch and batch < asked else asked // 2
    largest = (
        f"As far as measured, {fits} would fit"
        if fits == batch
        else "How many would fit could not be measured; try half as many"
    )
    return UserError(
        f"{asked // processes} images of {len(recipe.views)} views per process ({name} {asked} over {processes}) do "
        f"not fit in the GPU's memory. {largest}: {_ways_out(training, fits)}. That changes the result, so choose "
        "another --out. The same batch over more processes does not change it: torchrun --nproc-per-node N, and "
        "--resume continues from the last state."
    )


def _ways_out(training: Training, fits: int) -> str:
    """Settings with so many images or less at a time; parts are the largest that fill the batch."""
    batch, processes = training.recipe.batch_size, training.runtime.world_size
    sizes = [size for size in range(processes, fits + 1, processes) if size > 1 and batch % size == 0]
    parts = f"--set micro_batch_size={sizes[-1]}" if sizes else ""
    if training.recipe.micro_batch_size:
        return parts or "no smaller part divides the batch, so lower batch_size too"
    kept = (
        f", or {parts}, with which the loss still sees {batch} images, batch normalization sees only the part, and the "
    )
    return f"--set batch_size={fits}" + (f"{kept}backbone runs forward twice" if parts else "")


def fitting(training: Training) -> int | None:
    """The largest global batch that would fit, a multiple of the processes; None where that cannot be measured."""
    small = max(1, training.recipe.batch_size // training.runtime.world_size // 8)
    try:
        first, second = peak(training, small), peak(training, 2 * small)
    except torch.OutOfMemoryError:
        return None
    each = (second - first) / small
    fixed = first - each * small
    if each <= 0:
        return None
    count = int((SHARE * usable(training) - fixed) / each)
    return count // 8 * 8 * training.runtime.world_size if count >= 8 else None


def peak(training: Training, batch: int) -> float:
    """Bytes that a step of so many images takes at most, the loss apart, and the optimizer's memory with it.

    In eval mode, so that processes need not wait for each other.
    """
    device, encoder = training.runtime.device, training.encoder.eval()
    training.optimizer.zero_grad(set_to_none=True)
    recipe = training.recipe
    sample = Views(recipe.views, recipe.preprocess)(training.images.image(0), generator(recipe.seed, 0, 0))
    views = [sample[i].expand(batch, -1, -1, -1).to(device) for i in training.routes.student]
    torch.cuda.reset_peak_memory_stats(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        total = torch.stack([z.float().sum() for z in encoder(views)]).sum()
    total.backward()
    kept = 0 if training.optimizer.state else sum(p.nbytes for p in training.learner.parameters() if p.requires_grad)
    return float(torch.cuda.max_memory_allocated(device) + kept)


def usable(training: Training) -> int:
    """Bytes of the GPU that this process has or could have."""
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(training.runtime.device)
    return free + torch.cuda.memory_allocated(training.runtime.device)
