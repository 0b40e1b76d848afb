"""Two real processes, joined as a launcher would join them, and the command line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from torch import nn


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


@pytest.fixture(scope="session", params=["torchrun", "slurm"])
def ranks(request: pytest.FixtureRequest, inputs: dict[str, Any]) -> list[dict[str, Any]]:
    """What each of two processes finds, by rank."""
    from one_of_two import measure

    launcher = {"torchrun": forked.by_torchrun, "slurm": forked.by_srun}[request.param]
    return forked.ranks(2, lambda _: measure(inputs), launcher=launcher)


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
