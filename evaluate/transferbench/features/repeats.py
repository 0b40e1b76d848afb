"""Images that a backbone cannot tell apart: white or black ones, one file many times, or features that collapsed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float

TOLERANCE = 1e-5
"""Of the largest feature: below it features are the same, computed in batches of another size."""
ROWS = 1 << 14
VALUES = 1 << 26
"""Of features that are looked at together, at most."""


class RepeatedFeaturesWarning(UserWarning):
    """Most images of a split have the same features, so that a score on them says little."""


@contextmanager
def heard() -> Iterator[list[str]]:
    """What is warned of by `warn` inside the block; all warnings are shown as ever."""
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", RepeatedFeaturesWarning)
        show = warnings.showwarning

        def hear(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, RepeatedFeaturesWarning) and str(message) not in texts:
                texts.append(str(message))
            show(message, category, *where, **more)

        warnings.showwarning = hear
        yield texts


def warn(features: Float[np.ndarray, "n d"], whose: str, split: str) -> None:
    """Warn where all images of a split, or more than half of them, have the same features."""
    same, n = repeated(features), len(features)
    if same:
        count = f"all {n}" if same == n else f"{same} of the {n}"
        text = (
            f"{whose} gives {count} images of {split} the same features: a score on them says little. The images may "
            "be the same (all white or black, or one file many times), or the weights may have collapsed."
        )
        warnings.warn(text, RepeatedFeaturesWarning, stacklevel=3)


def repeated(features: Float[np.ndarray, "n d"]) -> int:
    """How many images have the features that more than half of them have; 0 where no features are that frequent.

    Where they are, they have the middle one of all heights along any direction, so one pass finds them.
    """
    n, width = features.shape
    if n < 2:
        return 0
    direction = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), width)
    rows = max(1, min(ROWS, VALUES // max(1, width)))
    starts = range(0, n, rows)
    heights = np.concatenate([features[start : start + rows] @ direction for start in starts])
    middle = int(np.argpartition(heights, n // 2)[n // 2])
    typical = np.array(features[middle])
    size = float(np.abs(typical).max(initial=0))
    near = np.abs(heights - heights[middle]) <= 2 * TOLERANCE * width * size
    if 2 * near.sum() <= n:
        return 0
    far = [np.abs(features[start : start + rows] - typical).max(1, initial=0) for start in starts]
    same = int((np.concatenate(far) <= TOLERANCE * size).sum())
    return same if 2 * same > n else 0
