"""MMCR, with and without a teacher, against literal float64 versions and the published implementation's numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.fused.root_traces import nuclear_norms, nuclear_norms_of_pairs
from decorssl.methods import METHODS, Context, Outputs, Routes, mmcr, mmcr_m

GOLDEN = Path(__file__).parent / "golden"
INDEX: dict[str, dict[str, Any]] = json.loads((GOLDEN / "index_mmcr.json").read_text())
Array = np.ndarray
Build = Callable[..., Context]


def drawn(count: int, n: int, d: int, seed: int = 0) -> list[Array]:
    return [np.random.default_rng([seed, i]).normal(size=(n, d)) + 0.3 for i in range(count)]


def tensors(arrays: list[Array]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def literal_norm(matrix: Array) -> float:
    return sum(float(value) for value in np.linalg.svd(matrix, compute_uv=False))


def literal_loss(student: list[Array], teacher: list[Array], weight: float) -> float:
    """Image by image and view by view."""
    centroids, local = [], []
    for i in range(len(student[0])):
        views = [z[i] / np.sqrt(sum(x * x for x in z[i])) for z in student]
        taught = [z[i] / np.sqrt(sum(x * x for x in z[i])) for z in teacher]
        centroid = sum(views) / len(views)
        centroids.append((centroid + sum(taught) / len(taught)) / 2 if teacher else centroid)
        local.append(literal_norm(np.stack(views)))
    return weight * sum(local) / len(local) - literal_norm(np.stack(centroids))


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("shape", [(9, 5), (6, 11)])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("name", ["mmcr", "mmcr_m"])
def test_loss_is_the_literal_formula(
    name: str, count: int, shape: tuple[int, int], weight: float, context: Build
) -> None:
    method = METHODS.load(name)
    student, teacher = drawn(count, *shape), drawn(count, *shape, seed=1) if name == "mmcr_m" else []
    at = context(method.Config(local_weight=weight))
    terms = method.loss(Outputs(tensors(student), tensors(teacher)), at)
    assert terms["loss"].item() == pytest.approx(literal_loss(student, teacher, weight), rel=1e-10)
    assert terms["centroid_norm"].item() == pytest.approx(-literal_loss(student, teacher, 0.0), rel=1e-10)
    assert ("local_norm" in terms) == (weight > 0)
    averaged = method.loss(
        Outputs(tensors(student), tensors(teacher)), replace(at, config=method.Config(local_weight=weight, mean=True))
    )
    torch.testing.assert_close(averaged["loss"], terms["loss"] / shape[0])


@pytest.mark.parametrize("name", list(INDEX))
def test_loss_and_gradients_equal_the_published_implementation(name: str, context: Build) -> None:
    arrays, told = np.load(GOLDEN / f"{name}.npz"), INDEX[name]
    part = {key: sorted(each for each in arrays.files if each.startswith(key)) for key in ("view", "target", "grad")}
    views = [torch.from_numpy(arrays[key]).requires_grad_() for key in part["view"]]
    method = METHODS.load(told["method"])
    outputs = Outputs(tuple(views), tuple(torch.from_numpy(arrays[key]) for key in part["target"]))
    value = method.loss(outputs, context(method.Config(local_weight=told["local_weight"])))["loss"]
    value.backward()
    assert value.item() == pytest.approx(told["loss"], rel=1e-9)
    for view, key in zip(views, part["grad"], strict=True):
        assert view.grad is not None
        expected = torch.from_numpy(arrays[key])
        assert (view.grad - expected).norm() <= 1e-9 * expected.norm(), key


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_gradcheck(shape: tuple[int, int], count: int, context: Build) -> None:
    views = tuple(z.requires_grad_() for z in tensors(drawn(count, *shape)))
    at = context(mmcr.Config(local_weight=0.5))
    assert torch.autograd.gradcheck(lambda *z: mmcr.loss(Outputs(z), at)["loss"], views)


@pytest.mark.parametrize("shape", [(48, 160), (96, 32)])
@pytest.mark.parametrize(("spread", "allowed"), [(1.0, 1e-7), (1e-2, 1e-7), (1e-4, 1e-5)])
def test_float32_knows_the_small_singular_values_of_collapsing_rows(
    shape: tuple[int, int], spread: float, allowed: float
) -> None:
    """Which a matrix of float32 inner products does not."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=shape[1]) + spread * rng.normal(size=shape)).float()
    matrix = torch.nn.functional.normalize(rows, dim=1).requires_grad_()
    found = nuclear_norms(matrix)
    found.backward()
    left, values, right = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    assert found.item() == pytest.approx(values.sum().item(), rel=1e-6)
    assert matrix.grad is not None
    assert (matrix.grad - left @ right).norm() <= allowed * values.numel() ** 0.5


def test_what_has_no_rank_left_has_a_finite_gradient() -> None:
    for rows in (torch.zeros(6, 4), torch.ones(6, 4), torch.ones(4, 6), torch.ones(2, 3, 5)):
        matrix = rows.clone().requires_grad_()
        nuclear_norms(matrix).sum().backward()
        assert matrix.grad is not None
        assert torch.linalg.matrix_norm(matrix.grad, ord=2).max() <= 1 + 1e-5
    a, b = torch.ones(3, 4, requires_grad=True), torch.ones(3, 4)
    nuclear_norms_of_pairs(a, b).sum().backward()
    torch.testing.assert_close(a.grad, torch.full((3, 4), 0.5**1.5))


def test_the_teacher_sees_all_views_and_follows_at_one_pace(context: Build) -> None:
    config = mmcr_m.Config(momentum=0.9)
    assert mmcr_m.routes(config, 3) == Routes((0, 1, 2), (0, 1, 2))
    assert [mmcr_m.momentum(context(config, step=step, total_steps=9)) for step in (0, 8)] == [0.9, 0.9]
