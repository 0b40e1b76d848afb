"""One of two processes of `test_runtime.py` and `test_batchnorm.py`: what it computes from its half of the inputs."""

import sys
from pathlib import Path

from torch import Tensor, nn

from transferbench import runtime, state
from transferbench.batchnorm import SynchronisedBatchNorm, synchronise
from transferbench.runtime import Runtime

PARTED = (3,)
"""Where images are parted between the two processes: not in the middle."""


def gathered(here: Runtime, inputs: dict[str, Tensor]) -> dict[str, object]:
    """A loss that needs all rows at once, and this process's gradient of the weights below it."""
    weight = inputs["weight"].clone().requires_grad_()
    rows = here.gather(inputs["rows"].chunk(here.world_size)[here.rank] @ weight)
    loss = (rows.T @ rows).square().sum()
    loss.backward()
    return {"rows": rows.detach(), "loss": loss.detach(), "gradient": weight.grad}


def normalised(here: Runtime, inputs: dict[str, Tensor]) -> dict[str, object]:
    """Two steps of training and one of testing through synchronised normalisation, from this process's part."""
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)), nn.Flatten(), nn.BatchNorm1d(48, momentum=None))
    network.load_state_dict({name: tensor.clone() for name, tensor in inputs["network"].items()})
    network = synchronise(network, here)
    assert sum(isinstance(module, SynchronisedBatchNorm) for module in network.modules()) == 2
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


def main(folder: Path) -> None:
    here = runtime.start("cpu")
    inputs = state.load(folder / "inputs")
    here.barrier()
    found = {
        "place": [here.rank, here.world_size, here.is_main],
        "objects": here.gather_objects(f"rank {here.rank}"),
        "any": [here.any(False), here.any(here.rank == 1)],
        "gathered": gathered(here, inputs),
        "normalised": normalised(here, inputs),
    }
    state.save(folder / f"rank{here.rank}", found)
    runtime.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
