"""The diagnosis of a failed step: the batch's spectrum and what may help."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float32

from decorssl.loop import Step
from decorssl.recipe import Recipe
from transferbench import metrics


def diagnosis(step: Step, recipe: Recipe, what: str) -> dict[str, Any]:
    """A report that JSON can hold: what is not finite, where, the embeddings view by view, advice."""
    terms = {name: _plain(value.item()) for name, value in step.terms.items()}
    views = [described(z.float().cpu().numpy()) for z in step.embeddings]
    facts = {"what": what, "step": step.index, "epoch": step.epoch, "lr": step.lr, "terms": terms}
    return {**facts, "embeddings": views, "cause": cause(views), "advice": advice(recipe)}


def described(z: Float32[np.ndarray, "n d"]) -> dict[str, Any]:
    """The share of entries that are not finite, and the spectrum of the rows that are, centered, if there are two."""
    finite = np.isfinite(z)
    rows = z[finite.all(1)]
    facts = {"n": len(z), "d": z.shape[1], "non_finite_share": 1 - float(finite.mean()), "finite_rows": len(rows)}
    if len(rows) < 2:
        return facts
    deviations = metrics.centered(rows)
    values = metrics.eigenvalues(deviations)
    singular = np.sqrt(values * (len(rows) - 1))
    return {
        **facts,
        "largest_singular_value": float(singular[0]),
        "smallest_singular_value": float(singular[-1]),
        "stable_rank": metrics.stable_rank(values),
        "std": float(metrics.standard_deviations(deviations).mean()),
    }


def cause(views: list[dict[str, Any]]) -> str:
    """Where to look first."""
    if any(view["non_finite_share"] for view in views):
        return (
            "The embeddings themselves are not finite: the cause is an image or an earlier update, not only this loss."
        )
    if any(view.get("smallest_singular_value", 0) <= 1e-6 * view.get("largest_singular_value", 0) for view in views):
        return "The embeddings are finite but do not span their space, so a covariance of them cannot be inverted."
    return "The embeddings are finite and span their space: a value or a gradient grew too large."


def advice(recipe: Recipe) -> list[str]:
    """Settings of this recipe that may help."""
    measures = [f"lower optim.lr (it is {recipe.optim.lr:g})", "raise optim.warmup_epochs"]
    if recipe.precision != "float32":
        measures.append("use precision=float32")
    if "eps" in recipe.settings:
        measures.append(f"raise settings.eps (it is {recipe.settings['eps']:g})")
    weights = [name for name in recipe.settings if name == "trade_off" or name.endswith("_weight")]
    return measures + [f"lower settings.{name}" for name in weights]


def message(facts: dict[str, Any], folder: object, last: str) -> str:
    """The report in words; `last` is the name of the last good state."""
    lines = [f"{facts['what']} at step {facts['step']}, epoch {facts['epoch'] + 1} ({facts['terms']})."]
    lines += [f"  view {i + 1}: {_words(view)}" for i, view in enumerate(facts["embeddings"])]
    lines.append(facts["cause"])
    lines.append(f"The last good state ({last}) and failure.json, this report, are kept in {folder}.")
    return "\n".join([*lines, f"To try again, choose another --out and {'; or '.join(facts['advice'])}."])


def _words(view: dict[str, Any]) -> str:
    share = f"{view['n']} embeddings of {view['d']} channels, {100 * view['non_finite_share']:.3g} % not finite"
    if "std" not in view:
        return share
    return (
        f"{share}; singular values {view['largest_singular_value']:.3g} to {view['smallest_singular_value']:.3g}, "
        f"stable rank {view['stable_rank']:.2f}, std {view['std']:.3g}"
    )


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
