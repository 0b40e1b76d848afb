"""Multinomial logistic regression with scikit-learn's objective, fitted by L-BFGS in the metric of the features."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from transferbench import stopping
from transferbench.errors import UserError
from transferbench.metrics import DIVERGED

BLOCK = 2**20
"""How many numbers of the features are worked on together: few enough to be in the cache when they are read again."""
PER_COLUMN = 16
"""The features' second moments are estimated from at most this many rows per column."""
TRUST = 1e-5
"""A gradient's components are right in float32 to far below this, times the features' root mean square."""
MEMORY = 10
"""Pairs of steps and gradient changes that L-BFGS looks back on."""

Parameters = Float64[Tensor, "c e"]
Metric = Callable[[Parameters], Parameters]
Pair = tuple[Parameters, Parameters]
"""A step and the change of the gradient over it."""


@dataclass(frozen=True)
class Fit:
    """Weights and, as the last column, biases of every class, and how the fit ended.

    `loss` is scikit-learn's objective over C n: mean cross entropy and |weights|² / (2 C n).
    """

    parameters: Parameters
    loss: float
    iterations: int
    converged: bool

    def logits(self, rows: Float[Tensor, "n d"]) -> Float64[Tensor, "n k"]:
        """Scores of all classes; with two classes the first one's is 0."""
        logits = torch.addmm(self.parameters[:, -1], rows.double(), self.parameters[:, :-1].T)
        return logits if len(self.parameters) > 1 else torch.cat([torch.zeros_like(logits), logits], 1)


@dataclass(frozen=True)
class Problem:
    """Features and the labels 0 ... k - 1, each of which occurs, and their second moments, for any penalty."""

    rows: Float[Tensor, "n d"]
    labels: Int64[Tensor, "n"]
    classes: int
    moments: Float64[Tensor, "e e"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n d"], labels: Int64[Tensor, "n"]) -> "Problem":
        """The problem of some features, which must have at least two classes.

        Raises:
            UserError: when their squares are not finite in float32.
        """
        few = rows[:: max(1, len(rows) // (PER_COLUMN * rows.shape[1]))].float()
        few = torch.cat([few, few.new_ones(len(few), 1)], 1)
        moments = (few.T @ few).double() / len(few)
        if not bool(moments.isfinite().all()):
            raise UserError(
                f"The squares of the features, of which the largest is {float(rows.abs().max()):.3g}, are not finite "
                f"in float32. Expected smaller ones: {DIVERGED}"
            )
        return cls(rows, labels, int(labels.max()) + 1, moments)

    def fit(self, strength: float, tolerance: float, most: int) -> Fit:
        """The minimum for C = `strength`: no component of the gradient above `tolerance`, or `most` steps taken."""
        return self.path([strength], tolerance, most)[0]

    def path(self, strengths: Sequence[float], tolerance: float, most: int) -> list[Fit]:
        """A fit for each C in turn, each from where the one before ended, with what that learned of the curvature.

        In float32 as far as that goes, then in float64 unless the gradient is far larger than what float32 can lose.
        """
        count = 1 if self.classes == 2 else self.classes
        point = torch.zeros(count, len(self.moments), dtype=torch.float64, device=self.rows.device)
        fits, pairs, before = [], [], 0.0
        for strength in strengths:
            penalty = 1 / (strength * len(self.rows))
            pairs = [(step, _with(change, step, penalty - before)) for step, change in pairs]
            metric, used, before = self._metric(penalty), 0, penalty
            for dtype in (torch.float32, torch.float64):
                objective = _Objective(self.rows.to(dtype), self.labels, self.classes, penalty)
                point, loss, slope, steps = _minimize(objective, point, metric, pairs, tolerance, most - used)
                used, steepest = used + steps, float(slope.abs().max())
                if steepest <= tolerance and tolerance >= TRUST * float(self.moments.diagonal().max()) ** 0.5:
                    break
            fits.append(Fit(point, loss, used, steepest <= tolerance))
        return fits

    def _metric(self, penalty: float) -> Metric:
        """What turns a gradient into a step: the inverse of a bound of the Hessian.

        The Hessian of the mean cross entropy is nowhere above half the second moments of the features for each class,
        a quarter for two classes with one weight vector (Böhning 1992). Biases are not penalized.
        """
        bound = self.moments * (0.25 if self.classes == 2 else 0.5)
        bound.diagonal()[:-1].add_(penalty)
        ridge = 1e-7 * float(bound.diagonal().mean()) + 1e-300
        bound.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(bound)
        while failed:  # Moments were rounded, by more where few directions hold almost all of them.
            bound.diagonal().add_(9 * ridge)
            ridge *= 10
            factor, failed = torch.linalg.cholesky_ex(bound)
        return lambda gradient: torch.cholesky_solve(gradient.T, factor).T


@dataclass(frozen=True)
class _Objective:
    """The mean cross entropy with its penalty, and its gradient, computed in the precision of `rows`."""

    rows: Float[Tensor, "n d"]
    labels: Int64[Tensor, "n"]
    classes: int
    penalty: float

    def __call__(self, parameters: Parameters) -> tuple[float, Parameters]:
        """Loss and gradient."""
        weight, bias = parameters[:, :-1].to(self.rows.dtype), parameters[:, -1].to(self.rows.dtype)
        gradient, loss = torch.zeros_like(parameters), torch.zeros((), dtype=torch.float64, device=parameters.device)
        step = max(1, BLOCK // max(self.classes, self.rows.shape[1]))
        for rows, labels in zip(self.rows.split(step), self.labels.split(step), strict=True):
            logits = torch.addmm(bias, rows, weight.T)
            if self.classes == 2:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            # What log_softmax does, in a third of its time for few classes.
            logs = logits.sub_(logits.logsumexp(1, keepdim=True))
            own = labels[:, None]
            loss -= logs.gather(1, own).sum(dtype=torch.float64)
            slope = logs.exp_().scatter_add_(1, own, -torch.ones_like(logs[:, :1]))[:, -len(parameters) :]
            # (slope' rows), since the transpose of (rows' slope) takes many times as long in some libraries.
            gradient[:, :-1] += slope.T @ rows
            gradient[:, -1] += slope.sum(0, dtype=torch.float64)
        gradient /= len(self.rows)
        gradient[:, :-1] += self.penalty * parameters[:, :-1]
        return float(loss) / len(self.rows) + self.penalty * float(parameters[:, :-1].square().sum()) / 2, gradient


def _with(change: Parameters, step: Parameters, penalty: float) -> Parameters:
    """The change of the gradient over a step when the penalty is larger by so much."""
    return torch.cat([change[:, :-1] + penalty * step[:, :-1], change[:, -1:]], 1)


def _minimize(
    objective: _Objective, point: Parameters, metric: Metric, pairs: list[Pair], tolerance: float, most: int
) -> tuple[Parameters, float, Parameters, int]:
    """L-BFGS from `point` until the gradient is small, nothing is gained any more or `most` steps are made.

    Returns where it ended, loss and gradient there, and the number of steps; `pairs` then holds the last ones.
    """
    loss, slope = objective(point)
    for done in range(most):
        stopping.check()
        if slope.abs().max() <= tolerance:
            return point, loss, slope, done
        direction = -_quasi_newton(slope, pairs, metric)
        next_point = _descended(objective, point, loss, slope, direction)
        if next_point is None and pairs and objective.rows.dtype == torch.float64:
            pairs.clear()  # What was learned in float32 can mislead so near the end.
            continue
        if next_point is None:
            return point, loss, slope, done
        further, loss, other = next_point
        if float(((further - point) * (other - slope)).sum()) > 0:
            pairs[:] = [*pairs[-MEMORY + 1 :], (further - point, other - slope)]
        point, slope = further, other
    return point, loss, slope, most


def _quasi_newton(slope: Parameters, pairs: list[Pair], metric: Metric) -> Parameters:
    """The gradient times the inverse Hessian that the pairs (step, gradient change) tell of, from `metric` on."""
    product, shares = slope.clone(), []
    for step, change in reversed(pairs):
        share = float((step * product).sum() / (step * change).sum())
        product -= share * change
        shares.append(share)
    product = metric(product)
    if pairs:  # As much shorter as the last step has shown the curvature to be below its bound.
        step, change = pairs[-1]
        product *= float((step * change).sum() / (change * metric(change)).sum())
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        product += (share - float((change * product).sum() / (step * change).sum())) * step
    return product


def _descended(
    objective: _Objective, point: Parameters, loss: float, slope: Parameters, direction: Parameters
) -> tuple[Parameters, float, Parameters] | None:
    """Where to go along the direction, with loss and gradient there; None when no length gains anything.

    A gain is a lower loss or, in float64, a gentler slope along the direction and a loss as low as can be told.
    """
    incline, length = float((slope * direction).sum()), 1.0
    unclear = 1e-14 * abs(loss) if objective.rows.dtype == torch.float64 else -math.inf
    while length > 1e-6 and incline < 0:
        further = point + length * direction
        value, other = objective(further)
        gained = value <= loss + 1e-4 * length * incline
        gentler = value <= loss + unclear and abs(float((other * direction).sum())) < 0.9 * abs(incline)
        if math.isfinite(value) and (gained or gentler):
            return further, value, other
        length /= 2
    return None
