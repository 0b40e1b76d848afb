"""The data sets that other tests spoil: on a good one the network is right, and a wrong label is seen."""

from collections.abc import Callable
from pathlib import Path

import coloured
import pytest
from coloured import judged, right, top1


@pytest.mark.parametrize("write", [coloured.parquet, coloured.shard, coloured.folder])
def test_the_network_tells_the_colours_apart(write: Callable[..., None], tmp_path: Path):
    write(tmp_path / "set", "train", right(6))
    write(tmp_path / "set", "test", [*right(2), (0, 1), (1, 2)])
    found = judged(tmp_path / "set")
    assert (top1(found), found.chance) == (75.0, pytest.approx(100 / 3))
