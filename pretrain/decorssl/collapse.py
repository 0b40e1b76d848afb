"""Collapse of features: its measures, its kinds, and the warnings."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64

from transferbench import metrics

Kind = Literal["none", "dimensional", "complete"]

COSINE, RANK_SHARE, CORRELATION = 0.999, 0.05, 0.5
"""Collapse is a mean cosine above, an effective rank below that share of the possible one, or correlations above.

Chosen by the study of collapse (results/collapse), where an earlier rule of thumb (stable rank below 5 % of the
dimensions, condition above 1e4, correlation above 0.3) called healthy runs collapsed: W-MSE ended with a stable rank of
3 % and a correlation of 0.35, CW-RGP and Shuffled-DBN with conditions above 1e4. A cosine of 0.99 is not enough: an
untrained network can have it, and so can one whose loss does not see what all images have in common.
"""

FLOOR = 1e-12
"""The smallest eigenvalue is taken to be at least this part of the largest."""

ALARMS: dict[Kind, str] = {
    "complete": "Complete collapse: different images get the same embedding (mean cosine {s.mean_cosine:.4f}, std "
    "{s.std:.2g}), so there is nothing left to learn from. ",
    "dimensional": "Dimensional collapse: embeddings vary along {s.effective_rank:.1f} of {s.possible} directions, "
    "and their channels are redundant (mean |correlation| {s.mean_abs_correlation:.2f}). ",
}
ADVICE = (
    "If the method is meant to prevent it: lower optim.lr or raise optim.warmup_epochs, check that the batch is "
    "large enough for the method, and give its decorrelation or variance term more weight. The run continues."
)


@dataclass(frozen=True)
class Spectrum:
    """Measures of `n` features of `d` dimensions, after centering but for `mean_cosine` (docs/methods.md#collapse).

    `possible` is the number of directions they could vary along, of embeddings no more than the features have that they
    are made from; a projector that is not linear can spread these over more, and `rank_share` then exceeds 1. The
    condition number is none for fewer than 2 d samples, where it would say more about the sample than about them.
    """

    n: int
    d: int
    possible: int
    std: float
    mean_cosine: float
    stable_rank: float
    effective_rank: float
    log10_condition: float | None
    mean_abs_correlation: float
    eigenvalues: Float64[np.ndarray, "r"]

    @property
    def stable_share(self) -> float:
        """Stable rank over dimensions, the normalized stable rank of CW-RGP's paper (docs/methods.md#collapse)."""
        return self.stable_rank / self.d

    @property
    def rank_share(self) -> float:
        """Effective rank over the directions there could be."""
        return self.effective_rank / self.possible

    @property
    def collapse(self) -> Kind:
        """The kind of collapse, if any."""
        if self.mean_cosine > COSINE or not self.eigenvalues.any():
            return "complete"
        return "dimensional" if self.rank_share < RANK_SHARE or self.mean_abs_correlation > CORRELATION else "none"

    def line(self) -> dict[str, Any]:
        """Plain values, the eigenvalues to four digits."""
        values = {name: value for name, value in vars(self).items() if name != "eigenvalues"}
        shares = {"stable_share": self.stable_share, "rank_share": self.rank_share}
        return {**values, **shares, "eigenvalues": [float(f"{value:.4g}") for value in self.eigenvalues]}


def spectrum(features: Float32[np.ndarray, "n d"], width: int | None = None) -> Spectrum:
    """The measures of finite features; `width` is how many others they were made from, if they were."""
    deviations = metrics.centered(features)
    values = metrics.eigenvalues(deviations)
    n, d = features.shape
    return Spectrum(
        n=n,
        d=d,
        possible=min(len(values), width or d),
        std=float(metrics.standard_deviations(deviations).mean()),
        mean_cosine=metrics.mean_cosine(features),
        stable_rank=metrics.stable_rank(values),
        effective_rank=metrics.effective_rank(values),
        log10_condition=metrics.log_condition(values, FLOOR) if n >= 2 * d else None,
        mean_abs_correlation=metrics.mean_absolute_correlation(deviations),
        eigenvalues=values,
    )


def alarm(spectrum: Spectrum) -> str | None:
    """The warning for a person who watches the run."""
    return ALARMS[spectrum.collapse].format(s=spectrum) + ADVICE if spectrum.collapse != "none" else None


def redundancy(features: Float32[np.ndarray, "n d"], groups: int) -> float:
    """How much contiguous groups of channels repeat each other: mean squared canonical correlation over their pairs.

    1 where every group is a linear function of every other, as after a whitening within groups that nothing keeps from
    giving each the same content; independent groups of k channels give about k / n.
    """
    bases = [_basis(part) for part in np.split(metrics.centered(features), groups, axis=1)]
    pairs = [(a, b) for i, a in enumerate(bases) for b in bases[:i]]
    return float(np.mean([((a.T @ b) ** 2).sum() / max(1, min(a.shape[1], b.shape[1])) for a, b in pairs]))


def correlations(features: Float32[np.ndarray, "n d"], groups: int) -> tuple[float, float]:
    """Mean |Pearson correlation| of channels of one contiguous group, and of different groups."""
    deviations = metrics.centered(features)
    norms = np.sqrt((deviations**2).sum(0))
    unit = deviations / np.where(norms > 0, norms, 1)
    d = unit.shape[1]
    correlation = np.abs(unit.T @ unit)
    same = np.kron(np.eye(groups), np.ones((d // groups, d // groups))).astype(bool)
    other = ~same
    same[np.diag_indices(d)] = False
    return float(correlation[same].mean()), float(correlation[other].mean())


def _basis(deviations: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n r"]:
    """An orthonormal basis of what centered channels span, without directions at the level of float32's rounding."""
    left, singular, _ = np.linalg.svd(deviations, full_matrices=False)
    return left[:, singular > 1e-6 * singular[0]] if singular.any() else left[:, :0]
