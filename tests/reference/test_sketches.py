"""What sketching losses promise beside their formulas: directions, memory, precision, processes."""

from types import ModuleType
from typing import Any

import pytest
import torch
from forked import ranks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from decorssl.fused.epps_pulley import mean_statistic
from decorssl.methods import Context, Outputs, lejepa, visreg
from decorssl.sketches import CHUNK, directions
from transferbench.runtime import Runtime, start, stop
from transferbench.runtime.gradients import average_gradients

METHODS = {"lejepa": lejepa, "visreg": visreg}


def views(count: int = 3, n: int = 16, d: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return [1.4 * image + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(count)]


def evaluated(method: ModuleType, embeddings: list[Tensor], seed: int, runtime: Runtime, count: int = CHUNK + 9) -> Any:
    """(loss, gradients averaged over processes) of this process's rows, with a generator of its own."""
    leaves = [torch.nn.Parameter(z.clone()) for z in embeddings]
    generator = torch.Generator().manual_seed(seed)
    place = (method.Config(directions=count), 0, 1, 0, 1)
    value = method.loss(Outputs(tuple(leaves)), Context(*place, generator, runtime.gather, torch.nn.ModuleDict()))
    value["loss"].backward()
    return value["loss"].item(), [leaf.grad for leaf in leaves]


def test_directions_are_unit_vectors_in_all_directions_and_as_many_as_asked_for() -> None:
    like = torch.zeros(2, 5, 3, dtype=torch.float64)
    chunks = list(directions(3 * CHUNK + 1, like, torch.Generator().manual_seed(0)))
    rows = torch.cat(chunks)
    assert [len(chunk) for chunk in chunks] == [CHUNK] * 3 + [1]
    assert rows.dtype == like.dtype
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows), dtype=rows.dtype))
    assert rows.mean(0).abs().max() < 0.1
    assert (rows.T @ rows / len(rows) - torch.eye(3) / 3).abs().max() < 0.1


class Largest(TorchDispatchMode):
    """The most elements that a tensor had."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("name", METHODS)
def test_no_tensor_grows_with_the_number_of_directions(name: str) -> None:
    largest = []
    for count in (CHUNK, 4 * CHUNK):
        with Largest() as seen:
            evaluated(METHODS[name], views(), 0, Runtime(torch.device("cpu")), count)
        largest.append(seen.elements)
    assert largest[0] == largest[1] > 0


def test_powers_keep_float32s_digits_over_many_knots_and_far_from_the_mean() -> None:
    """Where the recurrence of cosines, cos((k + 1) t) = 2 cos t cos(k t) - cos((k - 1) t), loses them."""
    generator = torch.Generator().manual_seed(0)
    samples = 3 * torch.randn(1, 256, 8, generator=generator, dtype=torch.float64)
    along = torch.cat(list(directions(64, samples, generator)))
    found = []
    for z, a in ((samples.float(), along.float()), (samples, along)):
        leaf = z.clone().requires_grad_()
        value = mean_statistic(leaf, [a], 129, 5.0, lambda rows: rows)
        value.backward()
        assert leaf.grad is not None
        found.append((value.detach().double(), leaf.grad.double()))
    (value, slope), (exact, exact_slope) = found
    assert abs(value - exact) <= 1e-6 * exact
    assert (slope - exact_slope).norm() <= 2e-6 * exact_slope.norm()


def in_process(rank: int) -> Any:
    torch.set_num_threads(1)
    runtime = start("cpu")
    found = {}
    for name, method in METHODS.items():
        leaves = [z.chunk(2)[rank] for z in views()]
        value, slopes = evaluated(method, leaves, rank, runtime)
        shares = [torch.nn.Parameter(torch.zeros_like(z)) for z in views()]
        for share, slope in zip(shares, slopes, strict=True):
            share.grad = torch.zeros_like(share)
            share.grad.chunk(2)[rank].copy_(slope)
        average_gradients(shares, runtime)
        found[name] = value, [share.grad for share in shares]
    stop()
    return found


def test_two_processes_look_along_the_firsts_directions_in_lejepa_and_along_both_in_visreg() -> None:
    """Their loss and gradients are those of one process with the whole batch and these directions."""
    both = ranks(2, in_process, limit=60)
    runtime = Runtime(torch.device("cpu"))
    alone = {name: [evaluated(method, views(), seed, runtime) for seed in (0, 1)] for name, method in METHODS.items()}
    expected = {"lejepa": [alone["lejepa"][0]] * 2, "visreg": alone["visreg"]}
    assert alone["lejepa"][0][0] != pytest.approx(alone["lejepa"][1][0], rel=1e-4)
    for name, wholes in expected.items():
        assert [found[name][0] for found in both] == pytest.approx([value for value, _ in wholes], rel=1e-12)
        mean = [sum(slopes) / 2 for slopes in zip(*(slopes for _, slopes in wholes), strict=True)]
        for found in both:
            torch.testing.assert_close(found[name][1], mean, rtol=1e-10, atol=1e-14)
