import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from transferbench.runtime import Runtime

WORKER = Path(__file__).parent / "tasks_in_processes.py"


def test_two_processes_find_what_one_finds(tmp_path: Path):
    one = runpy.run_path(str(WORKER))["measure"](Runtime(torch.device("cpu")), tmp_path / "one")
    folder = tmp_path / "two"
    folder.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(WORKER), str(folder)], check=True, env=environment, timeout=300)
    for rank in (0, 1):
        two = json.loads((folder / f"rank{rank}.json").read_text())
        assert two.keys() == one.keys()
        for task, scores in one.items():
            for metric, value in scores.items():
                assert two[task][metric] == pytest.approx(value, rel=1e-3, abs=1e-4), (task, metric)
    extracted = sorted((tmp_path / "one" / "cache" / "features").glob("*.npy"))
    assert len(extracted) == 7
    for path in extracted:
        other = folder / "cache" / "features" / path.name
        assert path.read_bytes() == other.read_bytes()
