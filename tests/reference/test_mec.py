"""MEC against the authors' numbers (index_mec.json) and against its formula, element by element."""

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from decorssl import traces
from decorssl.methods import Context, Outputs, mec

GOLDEN = Path(__file__).parent / "golden"
INDEX: dict[str, Any] = json.loads((GOLDEN / "index_mec.json").read_text())
Build = Callable[..., Context]
RUN = {"total_steps": 20, "epochs": 4}
NOTHING = nn.ModuleDict({"predictor": nn.Identity()})


@pytest.mark.parametrize("case", INDEX["cases"])
def test_loss_and_gradients_equal_the_authors(case: str, context: Build) -> None:
    arrays, size, entry = np.load(GOLDEN / "mec.npz"), case.partition("_")[0], INDEX["cases"][case]
    student = tuple(torch.from_numpy(arrays[f"{size}_student{i}"]).requires_grad_() for i in (0, 1))
    teacher = tuple(torch.from_numpy(arrays[f"{size}_teacher{i}"]) for i in (0, 1))
    now = context(mec.Config(warmup_epochs=2), NOTHING, **RUN, step=entry["step"])
    value = mec.loss(Outputs(student, teacher), now)["loss"]
    value.backward()
    assert value.item() == pytest.approx(entry["loss"], rel=1e-9)
    for i, view in enumerate(student):
        expected = torch.from_numpy(arrays[f"{case}_student{i}_grad"])
        assert view.grad is not None
        assert (view.grad - expected).norm() <= 1e-9 * expected.norm()


def test_schedules_equal_the_authors(context: Build) -> None:
    schedule = INDEX["schedule"]
    places = [context(mec.Config(warmup_epochs=2), **RUN, step=step) for step in range(20)]
    found = [mec.inverse_lambda(schedule["n"], schedule["d"], place) for place in places]
    assert found == pytest.approx(schedule["inverse_lambda"], rel=1e-12)
    assert [mec.momentum(place) for place in places] == pytest.approx(schedule["momentum"], rel=1e-12)


def test_without_a_warm_up_lambda_is_its_value_from_the_first_step(context: Build) -> None:
    assert mec.inverse_lambda(1024, 2048, context(mec.Config(warmup_epochs=0))) == 32


def predicted(z: np.ndarray, predictor: nn.Sequential) -> np.ndarray:
    """Linear, batch normalization, ReLU and Linear, by hand."""
    first, norm, _, last = predictor
    assert first.bias is None
    hidden = z @ first.weight.detach().numpy().T
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    hidden = hidden * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    return np.maximum(hidden, 0) @ last.weight.detach().numpy().T + last.bias.detach().numpy()


def literal(student: list[np.ndarray], teacher: list[np.ndarray], inverse: float) -> float:
    """docs/methods.md#mec, whole powers of the n x n matrix of every ordered pair of views."""
    n, values = len(student[0]), []
    for a, b in permutations(range(len(student)), 2):
        c = np.empty((n, n))
        for i in range(n):
            for j in range(n):
                t, q = teacher[a][i], student[b][j]
                c[i, j] = sum(t * q) / np.sqrt(sum(t * t)) / np.sqrt(sum(q * q)) / inverse
        power, length = np.eye(n), 0.0
        for k in (1, 2, 3, 4):
            power = power @ c
            length += (-1) ** (k + 1) / k * sum(power[i, i] for i in range(n))
        values.append(length)
    return -inverse / n * float(np.mean(values))


@pytest.mark.parametrize(("count", "n", "d"), [(2, 9, 4), (2, 5, 8), (3, 6, 6)])
def test_it_is_the_literal_formula(count: int, n: int, d: int, context: Build) -> None:
    rng = np.random.default_rng(count)
    student, teacher = ([rng.normal(size=(n, d)) + 0.5 for _ in range(count)] for _ in range(2))
    config = mec.Config(distortion=3.0, predictor_hidden=5, warmup_factor=4.0, warmup_epochs=1)
    modules = mec.modules(d, config).double()
    outputs = Outputs(tuple(map(torch.from_numpy, student)), tuple(map(torch.from_numpy, teacher)))
    value = mec.loss(outputs, context(config, modules, step=3, total_steps=14, epochs=2))["loss"]
    through = [predicted(z, modules["predictor"]) for z in student]
    assert value.item() == pytest.approx(literal(through, teacher, (4 - 3 * 3 / 6) * 3 * n / d))


@pytest.mark.parametrize(("n", "d"), [(6, 3), (4, 6)])
def test_the_gradient_is_that_of_finite_differences(n: int, d: int, context: Build) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, d, dtype=torch.float64, generator=generator) for _ in range(4)]
    student = [z.requires_grad_() for z in rows[:2]]
    now = context(mec.Config(distortion=1.0), NOTHING)
    assert torch.autograd.gradcheck(lambda *z: mec.loss(Outputs(z, tuple(rows[2:])), now)["loss"], student)


def test_the_smaller_product_is_taken() -> None:
    assert traces.product(torch.ones(3, 8), torch.ones(3, 8)).shape == (3, 3)
    assert traces.product(torch.ones(8, 3), torch.ones(8, 3)).shape == (3, 3)
