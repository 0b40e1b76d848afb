"""Images without labels, handed over from Python to pretrain on: known by their pixels, as those with labels are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from transferbench.data import LOCAL, DatasetInfo
from transferbench.data.live import LabeledSplits, noted, require_name
from transferbench.data.live_contents import contents, source_of
from transferbench.data.row_maps import IMAGE
from transferbench.errors import UserError


class _Unlabeled:
    """The images of a data set, each beside the label -1; what else its items hold is left out."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        item = self.source[index]
        if isinstance(item, Mapping):
            item = next((item[name] for name in IMAGE if name in item), item)
        return item[0] if isinstance(item, tuple | list) and item else item, -1


def images_of(images: Any, *, name: str) -> LabeledSplits:
    """Images of one's own to pretrain on, without labels; `data_of` hands over those with labels.

    Every image is read once, for the fingerprint is of pixels, and has to be the same when it is read again.

    Args:
        images: a map-style data set, such as a torch `Dataset`, a list, a tensor `n c h w` or an array `n h w c`. An
            item is an image, a tuple or list that begins with one, or a mapping with one under `image` or another
            usual name; an image is as `data_of` takes it.
        name: what the run calls it; letters, digits, `-` and `_`, and no data set of this package.

    Raises:
        UserError: for what is none of that, with the first item that is not.
    """
    require_name(name)
    where = f"{name}/train"
    if isinstance(images, Tensor | np.ndarray):
        if images.ndim != 4:
            raise UserError(
                f"{where} is of shape {list(images.shape)}. Expected n c h w of a tensor, n h w c of an array."
            )
    elif isinstance(images, tuple):
        raise UserError(f"{where} is a tuple. Expected images alone; with labels they are handed over by data_of.")
    source = images if isinstance(images, Tensor | np.ndarray) else source_of(images, where)
    if not len(source):
        raise UserError(f"{where} has no images. Expected at least one.")
    found = contents(_Unlabeled(source), where)
    info = DatasetInfo(name, (), ("train",), None, LOCAL)
    split = found.images(info, np.full(len(found.labels), -1, np.int64))
    return LabeledSplits(name, noted({"train": split}, {"train": found}))
