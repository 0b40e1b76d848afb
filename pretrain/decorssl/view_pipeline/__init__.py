"""Where and how the views of a recipe are made. All ways give the same tensors, bit for bit.

`pil` makes one image after another in loader processes, `compiled` does so by machine code, and `batched` with tensors.
A small set of small images is held in memory (by `batched` on a GPU: in its memory, so that a loader process has only
numbers to draw); of any other set loader processes decode the images, and crop them for the GPU, which does the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, cast, get_args

import numpy as np
import torch

from decorssl.view_pipeline.batched import Batched, Decoded, Held
from decorssl.views import Views
from transferbench.data import LabeledImages, loading, pixels, resident
from transferbench.data.loading import Batch, Plan, Plans
from transferbench.data.transforms import functional
from transferbench.errors import UserError, unknown

Way = Literal["auto", "pil", "batched", "compiled"]
WAYS = get_args(Way)
SMALL = 32
"""The longest side, in pixels, of images that batches on a CPU are faster for than PIL (benchmarks/views.py)."""


@dataclass(frozen=True)
class Complete:
    """Views that loader processes make whole."""

    make: Callable[[Plan], Batch]

    def finish(self, made: Batch) -> Batch:
        """Nothing is left to do in the process that trains."""
        return made


Supply = Complete | Batched


def batches(images: LabeledImages, source: Supply, plans: Plans[Plan], seed: int, workers: int) -> Iterator[Batch]:
    """The planned batches of `images`, as their `source` makes them."""
    make: Callable[[Plan], Any] = source.make
    finish: Callable[[Any], Batch] = source.finish
    for made in loading.made(images, make, plans, seed, workers):
        yield finish(made)


def way(name: str) -> Way:
    """The way of that name.

    Raises:
        UserError: when there is none.
    """
    if name not in WAYS:
        raise unknown("way to make views", name, WAYS)
    return cast(Way, name)


def supply(images: LabeledImages, views: Views, seed: int, device: torch.device, way: Way = "auto") -> Supply:
    """The supply of that `way`, or the fastest there is on `device`.

    Raises:
        UserError: when the views cannot be made in the way asked for.
    """
    possible = _is_possible(views)
    if way in ("batched", "compiled") and not possible:
        raise UserError(
            f"--views {way} cannot blur with torchvision's kernel, and needs a crop in every view. Use --views pil."
        )
    if way == "compiled" and not find_spec("numba"):
        raise UserError("--views compiled needs numba: pip install 'transferbench[fast]'. Or use --views auto.")
    if way == "pil" or not possible:
        return _one_by_one(images, views, seed)
    held = resident.pixels(images, torch.get_num_threads())
    chosen = _fastest(held, device) if way == "auto" else way
    if chosen == "pil":
        return _one_by_one(images, views, seed)
    if chosen == "compiled":
        from decorssl.view_pipeline.compiled import CompiledViews

        return Complete(CompiledViews(images, views, seed, held))
    if held is None:
        return Decoded(images, views, seed, device)
    return Held(images, views, seed, device, torch.from_numpy(held).permute(0, 3, 1, 2).to(device))


def _one_by_one(images: LabeledImages, views: Views, seed: int) -> Complete:
    functional()  # imported now, and not in every loader process
    return Complete(loading.OneByOne(images, views, seed))


def compile_first(views: Views, device: torch.device, way: Way, say: Callable[[str], None]) -> None:
    """Compile what will make the views before any clock starts, where machine code will and this machine has none."""
    chosen = _fastest(None, device) if way == "auto" else way
    if chosen == "compiled" and _is_possible(views) and find_spec("numba"):
        from transferbench.data import compiled

        compiled.compile_once(say)


def _is_possible(views: Views) -> bool:
    """Whether the views can be made otherwise than one by one with PIL."""
    return all(pixels.can(view.operations) and view.cropped > 0 for view in views.views)


def _fastest(held: np.ndarray | None, device: torch.device) -> Way:
    if device.type != "cpu":
        return "batched"
    if find_spec("numba"):
        return "compiled"
    return "pil" if held is None or max(held.shape[1:3]) > SMALL else "batched"
