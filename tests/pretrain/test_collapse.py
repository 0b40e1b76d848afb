"""What collapse is called: literal clouds of features, and the thresholds from both sides."""

import numpy as np
import pytest

from decorssl import collapse
from decorssl.collapse import spectrum
from decorssl.study_results import verdict


def cloud(scales: list[float], n: int = 400, mean: float = 0.0, turned: bool = True) -> np.ndarray:
    """Features of independent directions with these standard deviations, in a random basis."""
    rng = np.random.default_rng(0)
    d = len(scales)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0] if turned else np.eye(d)
    return (rng.normal(size=(n, d)) * scales @ basis + mean).astype(np.float32)


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        (cloud([1.0] * 40), "none"),
        (cloud([1.0] * 20 + [1e-3] * 20), "none"),
        (cloud([1.0] + [1e-3] * 39), "dimensional"),
        (cloud([1.0, 1.0] + [1e-3] * 78), "dimensional"),
        (cloud([1.0] * 40, mean=5.0), "none"),
        (cloud([1e-3] * 40, mean=5.0), "complete"),
        (np.full((50, 8), 0.3, np.float32), "complete"),
        (np.zeros((50, 8), np.float32), "complete"),
    ],
)
def test_clouds_are_called_by_what_is_wrong_with_them(features: np.ndarray, kind: str) -> None:
    found = spectrum(features)
    assert found.collapse == kind
    assert (collapse.alarm(found) is None) == (kind == "none")


def test_channels_that_say_the_same_are_collapse_even_where_many_small_directions_hide_it() -> None:
    common = np.random.default_rng(1).normal(size=(400, 1))
    own = np.random.default_rng(2).normal(size=(400, 8))
    near, apart = (common + 0.8 * own).astype(np.float32), (common + 1.3 * own).astype(np.float32)
    assert spectrum(near).collapse == "dimensional"
    assert spectrum(apart).collapse == "none"


def test_ranks_are_shares_of_what_the_backbone_lets_through() -> None:
    """Twelve directions of 512 channels are few, but all there can be behind a backbone of 12 features."""
    thin = np.random.default_rng(0).normal(size=(300, 12)) @ np.random.default_rng(1).normal(size=(12, 512))
    features = thin.astype(np.float32)
    assert spectrum(features).collapse == "dimensional"
    assert spectrum(features, width=12).collapse == "none"
    assert spectrum(features, width=12).possible == 12
    assert spectrum(features).possible == 299


def test_a_condition_number_needs_twice_as_many_samples_as_dimensions() -> None:
    assert spectrum(cloud([1.0] * 200)).log10_condition == pytest.approx(
        2 * np.log10((1 + 0.5**0.5) / (1 - 0.5**0.5)), abs=0.1
    )
    assert spectrum(cloud([1.0] * 201)).log10_condition is None


def test_a_line_is_plain_json_with_the_whole_spectrum() -> None:
    import json

    found = spectrum(cloud([2.0, 1.0, 1.0], turned=False))
    line = json.loads(json.dumps(found.line(), allow_nan=False))
    assert len(line["eigenvalues"]) == 3
    assert line["eigenvalues"][0] == pytest.approx(4, rel=0.2)
    assert line["stable_share"] == pytest.approx(sum(found.eigenvalues) / found.eigenvalues[0] / 3)


def test_groups_that_repeat_each_other_share_everything_and_independent_ones_nothing() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(1000, 6)), rng.normal(size=(1000, 6))
    repeated = np.concatenate([first, first @ rng.normal(size=(6, 6))], 1).astype(np.float32)
    independent = np.concatenate([first, other], 1).astype(np.float32)
    half = np.concatenate([first, np.concatenate([first[:, :3], other[:, :3]], 1)], 1).astype(np.float32)
    assert collapse.redundancy(repeated, 2) == pytest.approx(1, abs=1e-6)
    assert collapse.redundancy(independent, 2) < 0.02
    assert collapse.redundancy(half, 2) == pytest.approx(0.5, abs=0.02)
    assert collapse.redundancy(np.ones((50, 4), np.float32), 2) == 0


def test_correlations_are_told_apart_by_group_pair_by_pair() -> None:
    features = cloud([3.0, 1.0, 0.5, 0.2, 1.0, 1.0], n=60)
    rho = np.abs(np.corrcoef(features.astype(np.float64).T))
    within = [rho[i, j] for i in range(6) for j in range(6) if i != j and i // 3 == j // 3]
    across = [rho[i, j] for i in range(6) for j in range(6) if i // 3 != j // 3]
    assert collapse.correlations(features, 2) == pytest.approx((np.mean(within), np.mean(across)))


@pytest.mark.parametrize(
    ("kind", "redundancy", "is_finite", "called"),
    [
        ("none", 0.2, True, "none"),
        ("none", 0.9, True, "across groups"),
        ("dimensional", 0.9, True, "dimensional"),
        ("complete", 0.0, True, "complete"),
        ("none", 0.0, False, "not finite"),
    ],
)
def test_a_verdict_is_the_worst_that_is_true(kind, redundancy, is_finite, called) -> None:
    assert verdict(kind, redundancy, is_finite) == called
