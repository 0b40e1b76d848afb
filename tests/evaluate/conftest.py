"""Two real processes, joined as a launcher would join them, and the command line."""

from collections.abc import Callable
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
def evaluate(run_main: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    """`evaluate(*arguments)`: the exit code and what stood on stdout and stderr; runs in a folder of its own."""
    from transferbench import cli

    return run_main("evaluate", cli)
