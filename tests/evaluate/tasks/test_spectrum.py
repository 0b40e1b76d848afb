import numpy as np
import pytest
import torch

from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, spectrum


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")


def run(candidate, images, bench, n: int = 20):
    return spectrum.run(candidate, Dataset(images(8), images(n, split="test")), spectrum.Config(), 0, bench)


def test_measures_are_those_of_the_test_features(tiny_candidate, tiny_images, bench):
    outcome = run(tiny_candidate, tiny_images, bench, 90)
    found = {score.metric: score.value for score in outcome.scores}
    features = bench.features(tiny_candidate, tiny_images(90, split="test"), "float32").features.astype(np.float64)
    singular = np.linalg.svd(features - features.mean(0), compute_uv=False)
    assert found["stable_rank"] == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-6)
    assert found["mean_std"] == pytest.approx(features.std(0, ddof=1).mean(), rel=1e-6)
    assert found["min_std"] == pytest.approx(features.std(0, ddof=1).min(), rel=1e-6)
    kept = np.load(outcome.artifacts["spectrum"])
    assert kept["eigenvalues"].shape == kept["std"].shape == (64,)
    assert kept["eigenvalues"][0] == pytest.approx(singular[0] ** 2 / 89, rel=1e-6)


def test_directions_and_units_are_said(tiny_candidate, tiny_images, bench):
    scores = run(tiny_candidate, tiny_images, bench).scores
    assert {score.unit for score in scores} == {""}
    assert {score.metric for score in scores if not score.higher_is_better} == {
        "log10_condition",
        "mean_abs_correlation",
        "power_law",
        "uniformity",
        "class_alignment",
    }


@pytest.mark.parametrize("weights", ["zero", "constant"])
def test_a_collapsed_network_has_finite_scores(weights, tiny_candidate, tiny_images, bench):
    with torch.no_grad():
        for norm in (m for m in tiny_candidate.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.weight.zero_()
            norm.bias.fill_(0.0 if weights == "zero" else 0.3)
    found = {score.metric: score.value for score in run(tiny_candidate, tiny_images, bench).scores}
    assert found["rankme"] == found["stable_rank"] == found["numerical_rank"] == found["mean_std"] == 0
    assert found["log10_condition"] == 12
    assert found["power_law"] == found["class_alignment"] == 0
    assert found["uniformity"] == pytest.approx(0, abs=1e-9)
    assert all(np.isfinite(value) for value in found.values())
