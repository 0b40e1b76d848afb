"""The class of each pixel of a data set for segmentation, as its files say it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int16, Int64, UInt8, UInt16
from pydantic import Field

from transferbench.errors import UserError
from transferbench.settings import Settings

__all__ = ["UNCOUNTED", "LabelMaps", "LabelRule"]

UNCOUNTED = -1
"""The class of a pixel that neither trains nor scores."""


class LabelRule(Settings):
    """What the numbers of a label map mean, where a data set's own files leave it to the protocol."""

    ignore_index: int | None = Field(
        255, ge=0, description="number of pixels that neither train nor score; none: all do"
    )
    reduce_labels: bool | None = Field(
        None, description="leave number 0 and its class out; none: as the data set is published"
    )


@dataclass(frozen=True)
class LabelMaps:
    """The label maps of a split, read when asked for.

    Attributes:
        read: the numbers of an image's pixels, as the data set publishes them (Cityscapes' and COCO-Stuff's already
            with the classes counted from 0, and 255 for what is none).
        names: what the files call each map, for messages.
        zero_is_other: number 0 says "none of the classes", as in ADE20K; `reduce_labels=None` then leaves it out.
    """

    read: Callable[[int], UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]]
    names: Sequence[str]
    zero_is_other: bool = False

    def reduces(self, rule: LabelRule) -> bool:
        """Whether number 0 is left out, and class 0 is what the files call 1."""
        return self.zero_is_other if rule.reduce_labels is None else rule.reduce_labels

    def labels(self, index: int, classes: int, rule: LabelRule) -> Int16[np.ndarray, "h w"]:
        """The class of each pixel, from 0 to `classes` - 1, or `UNCOUNTED`.

        Raises:
            UserError: naming the file and the number of no class.
        """
        numbers = self.read(index).astype(np.int32)
        found = numbers - 1 if self.reduces(rule) else numbers
        is_none = (found < 0) if rule.ignore_index is None else (found < 0) | (numbers == rule.ignore_index)
        beyond = np.unique(numbers[~is_none & (found >= classes)])
        if len(beyond):
            first = int(self.reduces(rule))
            raise UserError(
                f"'{self.names[index]}' holds {', '.join(map(str, beyond[:5]))}. Expected the numbers {first} to "
                f"{classes - 1 + first} of the classes"
                + ("." if rule.ignore_index is None else f", or {rule.ignore_index} where there is none.")
            )
        return np.where(is_none, UNCOUNTED, found).astype(np.int16)

    def subset(self, indices: Int64[np.ndarray, "m"]) -> "LabelMaps":
        """The maps of the images at `indices`, in that order."""
        read, chosen = self.read, np.asarray(indices)
        return replace(self, read=lambda i: read(int(chosen[i])), names=[self.names[int(i)] for i in chosen])
