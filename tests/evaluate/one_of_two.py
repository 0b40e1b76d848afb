"""One of two processes of `test_runtime.py` and `test_batchnorm.py`: what it computes from its half of the inputs."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from transferbench import runtime
from transferbench.runtime import Runtime
from transferbench.runtime.sync_batchnorm import SynchronizedBatchNorm, synchronize

PARTED = (3,)
"""Where images are parted between the two processes: not in the middle."""


def gathered(here: Runtime, inputs: dict[str, Tensor]) -> dict[str, object]:
    """A loss that needs all rows at once, and this process's gradient of the weights below it."""
    weight = inputs["weight"].clone().requires_grad_()
    rows = here.gather(inputs["rows"].chunk(here.world_size)[here.rank] @ weight)
    loss = (rows.T @ rows).square().sum()
    loss.backward()
    return {"rows": rows.detach(), "loss": loss.detach(), "gradient": weight.grad}


class SlowGather(torch.autograd.Function):
    """Every process gathers and sums everything and takes its own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]


def gathered_fast_and_slow(here: Runtime, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The gradients of this process's rows, each process weighing all rows otherwise, not contiguously."""
    found = []
    for gather in (here.gather, SlowGather.apply):
        own = inputs["rows"].chunk(here.world_size)[here.rank].clone().requires_grad_()
        rows: Any = gather(own.exp())
        (rows.T.sin() * (1 + here.rank) * torch.arange(1.0, len(rows) + 1)).sum().backward()
        assert own.grad is not None
        found.append(own.grad)
    return found


def refused(here: Runtime) -> str:
    """What is said when one process holds more rows than the other."""
    try:
        here.gather(torch.zeros(3 + here.rank, 2))
    except ValueError as error:
        return str(error)
    return ""


def normalized(here: Runtime, inputs: dict[str, Tensor]) -> dict[str, object]:
    """Two steps of training and one of testing through synchronized normalization, from this process's part."""
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)), nn.Flatten(), nn.BatchNorm1d(48, momentum=None))
    network.load_state_dict({name: tensor.clone() for name, tensor in inputs["network"].items()})
    network = synchronize(network, here)
    assert sum(isinstance(module, SynchronizedBatchNorm) for module in network.modules()) == 2
    for images in inputs["images"]:
        half = images.tensor_split(PARTED)[here.rank].clone().requires_grad_()
        network.zero_grad()
        out = network(half)
        (out * inputs["slope"].tensor_split(PARTED)[here.rank]).sum().backward()
    return {
        "out": out.detach(),
        "input gradient": half.grad,
        "gradients": {name: parameter.grad for name, parameter in network.named_parameters()},
        "network": dict(network.state_dict()),
        "tested": network.eval()(inputs["images"][0]).detach(),
    }


def measure(inputs: dict[str, Any]) -> dict[str, Any]:
    """All of the above in one process of two."""
    here = runtime.start("cpu")
    here.barrier()
    found = {
        "place": [here.rank, here.world_size, here.is_main],
        "objects": here.gather_objects(f"rank {here.rank}"),
        "any": [here.any(False), here.any(here.rank == 1)],
        "gathered": gathered(here, inputs),
        "gradients": gathered_fast_and_slow(here, inputs),
        "refused": refused(here),
        "normalized": normalized(here, inputs),
    }
    runtime.stop()
    return found
