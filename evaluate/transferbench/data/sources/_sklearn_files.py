"""scikit-learn's digits and sample photos, from its files: importing `sklearn.datasets` takes longer than torch."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64
from PIL import Image

from transferbench.data import decoding


def digits() -> tuple[Int32[np.ndarray, "n 8 8"], Int64[np.ndarray, "n"]]:
    """The 1,797 images of `load_digits`, of levels from 0 to 16, and their labels."""
    table = np.loadtxt(_folder() / "data" / "digits.csv.gz", np.int64, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8).astype(np.int32), table[:, -1].copy()


def photo(name: str) -> Image.Image:
    """What `load_sample_image` shows: `china.jpg` or `flower.jpg`."""
    return decoding.opened((_folder() / "images" / name).read_bytes()).convert("RGB")


def _folder() -> Path:
    spec = find_spec("sklearn")
    assert spec is not None, "scikit-learn is a requirement of this package"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "datasets"
