"""The picture of a study: sorted eigenvalues of embeddings and backbones, and effective rank over the run."""

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from decorssl.collapse import FLOOR, Spectrum
from decorssl.study_results import StudyResult, by_label
from transferbench import state

HAS_MATPLOTLIB = find_spec("matplotlib") is not None
MISSING = (
    "No figure was drawn because matplotlib is missing: pip install 'transferbench[plots]', then run the same "
    "command again."
)

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B", "#17BECF", "#9467BD")
"""Okabe and Ito's palette, which people with color-vision deficiency can distinguish, and three more colors."""
DASHES = {None: ":", "none": "-", "across groups": "-.", "dimensional": "--", "complete": "--", "not finite": "--"}
"""Solid lines are of methods that are claimed not to collapse."""


def draw(folder: Path, results: Sequence[StudyResult]) -> list[Path]:
    """Write `spectra.png` and `spectra.pdf`; each line is one method, the geometric mean over its seeds.

    Methods are shared out among rows of pictures in their order, no more in one than there are colors; the reference,
    of which no paper claims anything, is in each.
    """
    from matplotlib.figure import Figure

    named = by_label(results)
    references, methods = ([each for each in named if (each[1][0].claim is None) is alone] for alone in (True, False))
    count = max(1, math.ceil(len(methods) / len(COLORS)))
    size = math.ceil(len(methods) / count)
    figure = Figure(figsize=(11, 4.6 * count), layout="constrained")
    for i, part in enumerate(figure.subfigures(count, 1, squeeze=False)[:, 0]):
        _draw_row(part, [*references, *methods[i * size : (i + 1) * size]])
    paths = [folder / "spectra.png", folder / "spectra.pdf"]
    for path in paths:
        buffer = io.BytesIO()
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        figure.savefig(buffer, format=path.suffix[1:], dpi=110, metadata=metadata)
        state.write(path, buffer.getvalue())
    return paths


def _draw_row(figure: Any, methods: Sequence[tuple[str, list[StudyResult]]]) -> None:
    embedding, backbone, time = figure.subplots(1, 3)
    colors = iter(COLORS)
    for label, group in methods:
        color = next(colors) if group[0].claim else "#888888"
        style: dict[str, Any] = {"color": color, "linestyle": DASHES[group[0].claim], "linewidth": 1.6, "label": label}
        embedding.plot(*_line([f.embedding for f in group]), **style)
        backbone.plot(*_line([f.backbone for f in group]), **style)
        if group[0].over_time:
            time.plot(*np.mean([f.over_time for f in group], axis=0).T, **style)
    for axes, title in ((embedding, "Embedding"), (backbone, "Backbone")):
        axes.set(title=title, xlabel="rank of the eigenvalue", ylabel="eigenvalue / largest", yscale="log")
        axes.set_ylim(FLOOR / 3, 3)
    time.set(title="Embedding, while training", xlabel="step", ylabel="effective rank / possible", yscale="log")
    time.set_ylim(0.01, 1)
    for axes in (embedding, backbone, time):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = embedding.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, handlelength=3)


def _line(spectra: Sequence[Spectrum]) -> tuple[Float64[np.ndarray, "r"], Float64[np.ndarray, "r"]]:
    """(ranks from 1, geometric mean of the eigenvalues over the largest, not below the floor)."""
    shares = [np.maximum(s.eigenvalues / (s.eigenvalues[0] or 1.0), FLOOR) for s in spectra]
    return np.arange(1.0, len(shares[0]) + 1), np.exp(np.mean(np.log(shares), axis=0))
