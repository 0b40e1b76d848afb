"""Whitening behind a backbone against its authors' layer, and against the formula element by element in float64."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.output_whitening import OutputWhitening, Whitening

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, Any] = json.loads((GOLDEN / "index_whitening.json").read_text())["cases"]


def layer(d: int, **settings: Any) -> OutputWhitening:
    return OutputWhitening(d, Whitening(**settings)).double().train()


def features(n: int, d: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, dtype=torch.float64, generator=generator)
    return torch.randn(n, d, dtype=torch.float64, generator=generator) @ mix + 3


def literal(x: Tensor, settings: Whitening) -> tuple[list[list[float]], list[float], np.ndarray]:
    """(whitened rows, mean, matrix), sum by sum."""
    rows = [[float(v) for v in row] for row in x]
    n, d = len(rows), len(rows[0])
    mean = [sum(row[j] for row in rows) / n for j in range(d)]
    sigma = np.array(
        [[sum((r[i] - mean[i]) * (r[j] - mean[j]) for r in rows) / n for j in range(d)] for i in range(d)]
    ) + settings.eps * np.eye(d)
    if settings.kind == "zca":
        values, vectors = np.linalg.eigh(sigma)
        matrix = sum(np.outer(vectors[:, k], vectors[:, k]) / np.sqrt(values[k]) for k in range(d))
    else:
        trace, matrix = np.trace(sigma), np.eye(d)
        for _ in range(settings.iterations):
            matrix = 1.5 * matrix - 0.5 * matrix @ matrix @ matrix @ sigma / trace
        matrix = matrix / np.sqrt(trace)
    out = [[sum(matrix[i, j] * (row[j] - mean[j]) for j in range(d)) for i in range(d)] for row in rows]
    return out, mean, np.asarray(matrix)


@pytest.mark.parametrize("name", CASES)
def test_newtons_layer_is_the_published_one(name: str) -> None:
    kept = {key: torch.tensor(value) for key, value in np.load(GOLDEN / f"{name}.npz").items()}
    ours = layer(kept["x0"].shape[1])
    ours(kept["x0"])
    given = kept["x1"].requires_grad_()
    found = ours(given)
    torch.testing.assert_close(found, kept["y"], rtol=1e-9, atol=1e-9)
    (slope,) = torch.autograd.grad(found, given, kept["g"])
    torch.testing.assert_close(slope, kept["grad"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.mean, kept["mean"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.matrix, kept["matrix"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours.eval()(given), kept["inference"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("settings", [{"kind": "zca"}, {"kind": "zca", "eps": 0.5}, {"iterations": 3, "momentum": 0.4}])
def test_output_and_running_averages_are_the_formulas(settings: dict[str, Any]) -> None:
    ours, mean, matrix = layer(4, **settings), np.zeros(4), np.eye(4)
    for seed in range(2):
        x = features(9, 4, seed)
        out, of_batch, root = literal(x, ours.settings)
        torch.testing.assert_close(ours(x), torch.tensor(out, dtype=torch.float64), rtol=1e-8, atol=1e-8)
        share = ours.settings.momentum
        mean, matrix = share * np.array(of_batch) + (1 - share) * mean, share * root + (1 - share) * matrix
    torch.testing.assert_close(ours.mean, torch.tensor(mean))
    torch.testing.assert_close(ours.matrix, torch.tensor(matrix))
    kept = ours.state_dict()
    torch.testing.assert_close(ours.eval()(x), (x - torch.tensor(mean)) @ torch.tensor(matrix).T)
    assert all(torch.equal(kept[name], value) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("settings", [{"kind": "zca"}, {"kind": "iternorm"}])
def test_the_gradient_goes_through_the_batchs_statistics(settings: dict[str, Any]) -> None:
    ours = layer(3, **settings)
    assert torch.autograd.gradcheck(ours, [features(7, 3).requires_grad_()], atol=1e-6)


def test_the_root_itself_leaves_no_correlation_and_no_small_direction_whatever_the_autocast() -> None:
    """One direction is a thousand times the others, so that its square hides theirs in float32."""
    x = features(64, 8)
    x = (x - x.mean(0)) @ torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    x[:, 0] *= 3e3
    ours = OutputWhitening(8, Whitening(kind="zca", eps=0.0)).train()
    out = ours(x.float())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.T @ out / 64, torch.eye(8), rtol=0, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x.float()), out)
        assert ours.eval()(x.float()).dtype == torch.float32


def test_newtons_layer_computes_in_float32_whatever_the_autocast() -> None:
    x = features(64, 8).float()
    ours = OutputWhitening(8, Whitening()).train()
    out = ours(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), out)
        assert ours(x.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(out.double(), layer(8)(features(64, 8)), rtol=1e-4, atol=1e-4)
