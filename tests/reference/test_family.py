"""The relatives of INTL against the published implementations' numbers, and against literal float64 versions."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.batch_whitening import whitened_alignment
from decorssl.methods import Context, Outputs, barlow_twins, cwrgp, dbn, vicreg, wmse
from decorssl.pairs import Draw
from decorssl.spectral import inverse_root, whiten
from transferbench.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index_family.json").read_text())
Views = tuple[Tensor, ...]


def context(config: Any, seed: int = 0) -> Context:
    return Context(config, 0, 1, 0, 1, torch.Generator().manual_seed(seed), lambda z: z, torch.nn.ModuleDict())


def replayed(draws: Iterator[Tensor]) -> Draw:
    """The recorded draws in the order they were made."""

    def draw(n: int) -> Tensor:
        order = next(draws)
        assert len(order) == n
        return order

    return draw


def dbn_distance(views: Views, config: dbn.Config, draw: Draw) -> Tensor:
    first, second = (dbn.normalized(z, config, draw) for z in views)
    return (first - second).square().sum(1).mean()


def evaluated(name: str, views: Views, draw: Draw) -> Tensor:
    entry = INDEX[name]
    match entry["method"]:
        case "CW-RGP":
            config = cwrgp.Config(w_size=entry["w_size"], groups=entry["groups"], w_iter=entry["w_iter"])
            return cwrgp.alignment(views, config, draw)
        case "W-MSE" | "ZCA":
            factor = "cholesky" if entry["method"] == "W-MSE" else "zca"
            return whitened_alignment(views, wmse.Config(w_size=128), draw, factor)
        case "DBN" | "Shuffled-DBN":
            shuffled = entry["method"] == "Shuffled-DBN"
            return dbn_distance(views, dbn.Config(shuffled=shuffled, groups=entry["groups"]), draw)
        case "Barlow Twins":
            return barlow_twins.loss(Outputs(views), context(barlow_twins.Config()))["loss"]
        case "VICReg":
            return vicreg.loss(Outputs(views), context(vicreg.Config()))["loss"]
    raise AssertionError(entry)


@pytest.mark.parametrize("name", list(INDEX))
def test_loss_and_gradients_equal_the_published_implementation(name: str) -> None:
    arrays = np.load(GOLDEN / f"{name}.npz")
    count = sum(key.startswith("view") for key in arrays.files)
    views = tuple(torch.from_numpy(arrays[f"view{i}"]).double().requires_grad_() for i in range(count))
    recorded = sorted((key for key in arrays.files if key.startswith("draw")), key=lambda key: int(key[4:]))
    value = evaluated(name, views, replayed(torch.from_numpy(arrays[key]) for key in recorded))
    value.backward()
    tolerance = 1e-9 if name.startswith(("barlow", "vicreg")) else 1e-7
    assert value.item() == pytest.approx(INDEX[name]["loss"], rel=tolerance)
    for i, view in enumerate(views):
        reference = torch.from_numpy(arrays[f"grad{i}"]).double()
        assert view.grad is not None
        assert (view.grad - reference).norm() <= tolerance * reference.norm(), f"view {i}"


def literal_cwrgp(views: list[np.ndarray], size: int, groups: int, draw: Callable[[int], np.ndarray]) -> float:
    """docs/methods.md#cw-rgp word for word, one sub-batch, view, group and sample at a time."""
    n, d = views[0].shape
    parts = draw(n).reshape(-1, size)
    whitened = [np.empty_like(v) for v in views]
    for part in parts:
        for v, z in enumerate(views):
            x = np.stack([row - row.mean() for row in z[part]])
            for group in draw(d).reshape(groups, -1):
                sigma = x[:, group] @ x[:, group].T / (len(group) - 1)
                values, vectors = np.linalg.eigh(sigma)
                root = vectors @ np.diag(values**-0.5) @ vectors.T
                whitened[v][np.ix_(part, group)] = root @ x[:, group]
    losses = []
    for a, b in combinations(whitened, 2):
        cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
        losses.append(2 - 2 * np.mean(cosines))
    return float(np.mean(losses))


@pytest.mark.parametrize("n_views", [2, 3])
def test_cwrgp_is_the_literal_formula(n_views: int) -> None:
    rng = np.random.default_rng(0)
    views = [rng.normal(size=(16, 48)) for _ in range(n_views)]
    orders = [rng.permutation(16), *(rng.permutation(48) for _ in range(2 * n_views))]
    left = iter(orders)
    expected = literal_cwrgp(views, 8, 4, lambda n: next(left))
    config = cwrgp.Config(w_size=8, groups=4)
    ours = cwrgp.alignment(tuple(map(torch.from_numpy, views)), config, replayed(map(torch.from_numpy, iter(orders))))
    assert ours.item() == pytest.approx(expected, rel=1e-10)


def test_cwrgps_covariance_term_is_the_literal_formula_and_ends_at_its_epoch() -> None:
    views = [np.random.default_rng(i).normal(size=(8, 40)) for i in range(3)]
    spread = 0.0
    for z in views:
        c = np.cov(z)
        spread += sum(c[i, j] ** 2 for i in range(8) for j in range(8) if i != j) / 8

    def told(epoch: int) -> dict[str, Tensor]:
        config = cwrgp.Config(w_size=8, groups=2, covariance_weight=0.3, covariance_stop_epoch=2)
        return cwrgp.loss(Outputs(tuple(map(torch.from_numpy, views))), replace(context(config), epoch=epoch))

    # The term itself is float32, whatever the embeddings.
    assert (told(1)["loss"] - told(1)["alignment"]).item() == pytest.approx(0.3 * spread, rel=1e-6)
    assert told(2)["loss"] == told(2)["alignment"]


@pytest.mark.parametrize("layer", ["bn", "none"])
def test_the_layers_dbn_is_compared_with_are_the_literal_formula(layer: str) -> None:
    views = [np.random.default_rng(i).normal(size=(12, 5)) + i for i in range(2)]
    first, second = [(z - z.mean(0)) / z.std(0) if layer == "bn" else z for z in views]
    value = dbn.loss(Outputs(tuple(map(torch.from_numpy, views))), context(dbn.Config(layer=layer)))["loss"]
    assert value.item() == pytest.approx(np.mean([sum((a - b) ** 2) for a, b in zip(first, second, strict=True)]))


@pytest.mark.parametrize("factor", ["zca", "pca", "cholesky"])
def test_whitened_rows_have_identity_covariance(factor: str) -> None:
    rows = torch.randn(3, 8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    rows = rows - rows.mean(-1, keepdim=True)
    out = whiten(rows, 39, factor)
    identity = torch.eye(8, dtype=torch.float64).expand(3, 8, 8)
    torch.testing.assert_close(out @ out.mT / 39, identity, rtol=0, atol=1e-10)


def test_inverse_root_has_the_gradient_autograd_would_have() -> None:
    x = torch.randn(2, 5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sigma = (x @ x.mT / 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: inverse_root((s + s.mT) / 2), sigma)


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [1.0, 1.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
def test_inverse_root_stays_finite_on_equal_and_zero_eigenvalues(values: list[float]) -> None:
    sigma = torch.diag(torch.tensor(values)).requires_grad_()
    inverse_root(sigma).sum().backward()
    assert sigma.grad is not None
    assert sigma.grad.isfinite().all()


@pytest.mark.parametrize(
    ("module", "config", "batch", "dim", "told"),
    [
        (cwrgp, cwrgp.Config(w_size=64), 100, 512, "w_size=64"),
        (cwrgp, cwrgp.Config(w_size=64, groups=16), 128, 512, "groups=16"),
        (cwrgp, cwrgp.Config(w_size=64, groups=1), 128, 64, "one more"),
        (wmse, wmse.Config(w_size=128), 128, 128, "better 256"),
        (dbn, dbn.Config(groups=3), 64, 128, "3 groups"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(module: Any, config: Any, batch: int, dim: int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        module.check(config, batch, dim)


@pytest.mark.parametrize("module", [cwrgp, wmse, dbn, barlow_twins, vicreg])
def test_whitening_is_float32_whatever_the_autocast(module: Any) -> None:
    views = tuple(torch.randn(128, 96, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    config = module.Config(**({"w_size": 32} if module is cwrgp else {"eps": 0.1} if module is wmse else {}))
    plain = module.loss(Outputs(views), context(config))["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        under = module.loss(Outputs(views), context(config))["loss"]
    assert torch.equal(plain, under)
