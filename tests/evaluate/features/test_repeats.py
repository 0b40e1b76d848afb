"""Features that most images of a split share: found whatever the order, up to rounding, and no others."""

import warnings

import numpy as np
import pytest
from jaxtyping import Float32

from transferbench.features import repeats


def features(n: int, same: int, size: float = 1.0) -> Float32[np.ndarray, "n d"]:
    """Random features, `same` of which are one vector but for rounding."""
    random = np.random.default_rng([n, same])
    found = random.standard_normal((n, 12)).astype(np.float32) * np.float32(size)
    chosen = random.permutation(n)[:same]
    found[chosen] = found[chosen[:1]] * (1 + random.uniform(-1e-7, 1e-7, (same, 12))).astype(np.float32)
    return found


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n", [2, 3, 100, 101])
def test_more_than_half_are_counted_and_half_is_not(n: int, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "ROWS", 7)
    for same in range(1, n + 1):
        assert repeats.repeated(features(n, same, size)) == (same if 2 * same > n else 0)


def test_networks_that_give_one_vector_are_seen_and_small_differences_are_differences() -> None:
    assert repeats.repeated(np.zeros((5, 3), np.float32)) == 5
    assert repeats.repeated(np.zeros((1, 3), np.float32)) == 0
    small = 5 + 1e-3 * features(50, 1)
    assert repeats.repeated(small) == 0
    assert repeats.repeated(np.float32(5) + np.float32(1e-7) * features(50, 1)) == 50


def test_what_is_warned_of_is_heard_and_still_shown() -> None:
    with warnings.catch_warnings(record=True) as shown, repeats.heard() as texts:
        repeats.warn(features(9, 9), "net", "set/test")
        repeats.warn(features(9, 5), "net", "set/train")
        repeats.warn(features(9, 5), "net", "set/train")
        repeats.warn(features(9, 4), "net", "set/train")
        warnings.warn("something else", stacklevel=1)
    assert [text[: text.index(" the same")] for text in texts] == [
        "net gives all 9 images of set/test",
        "net gives 5 of the 9 images of set/train",
    ]
    assert len(shown) == 4
