from pathlib import Path

import forked
import pytest
import tasks_in_processes
import torch

from transferbench import runtime
from transferbench.runtime import Runtime


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path):
    one = tasks_in_processes.measure(Runtime(torch.device("cpu")), tmp_path / "one")
    both = forked.ranks(2, lambda rank: tasks_in_processes.measure(runtime.start("cpu"), tmp_path / "two"))
    for two in both:
        assert two.keys() == one.keys()
        for task, scores in one.items():
            for metric, value in scores.items():
                assert two[task][metric] == pytest.approx(value, rel=1e-3, abs=1e-4), (task, metric)
    extracted = sorted((tmp_path / "one" / "cache" / "features").glob("*.npy"))
    assert len(extracted) == 10
    for path in extracted:
        other = tmp_path / "two" / "cache" / "features" / path.name
        assert path.read_bytes() == other.read_bytes()
