"""Two real processes, joined as a launcher would join them."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

SCRIPT = Path(__file__).with_name("one_of_two.py")
LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
}

MEETING = {
    "torchrun": {"MASTER_ADDR": "127.0.0.1"},
    "slurm": {"SLURM_STEP_ID": "0", "SLURM_JOB_NODELIST": "localhost,other[1-3]"},
}


@pytest.fixture(scope="session")
def inputs() -> dict[str, Any]:
    """What both processes and the single one start from."""
    draw = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)), nn.Flatten(), nn.BatchNorm1d(48, momentum=None))
    learned = {
        name: tensor + torch.rand(tensor.shape, generator=draw) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    return {
        "rows": torch.randn(6, 4, generator=draw),
        "weight": torch.randn(4, 5, generator=draw),
        "images": [3 + 2 * torch.randn(8, 3, 4, 4, generator=draw) for _ in range(2)],
        "slope": torch.randn(8, 48, generator=draw),
        "network": learned,
    }


@pytest.fixture(scope="session", params=["torchrun", pytest.param("slurm", marks=pytest.mark.slow)])
def ranks(
    request: pytest.FixtureRequest, inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of two processes found, by rank."""
    from transferbench import state

    folder = tmp_path_factory.mktemp(request.param)
    state.save(folder / "inputs", inputs)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "RANK", "WORLD_", "MASTER_"))
    }
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env=clean
            | {"MASTER_PORT": str(port), **MEETING[request.param]}
            | dict(zip(LAUNCHERS[request.param], (str(rank), "2", str(rank)), strict=True)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(told)
    return [state.load(folder / f"rank{rank}") for rank in range(2)]


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """`evaluate(*arguments)`: the exit code and what stood on stdout and stderr; runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        from transferbench import cli

        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return call
