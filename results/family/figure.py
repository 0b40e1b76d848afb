"""Draws learning.png from run folders, and writes curves.csv, the numbers in it.

    python results/family/figure.py results/family runs/ten-epochs/*

A line a run: 20-NN accuracy and the effective rank of embeddings while it trained, and the eigenvalues of the features
that its backbone ended with; ranks and eigenvalues are of 1,024 training images without augmentation.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from decorssl.catalog import METHODS
from decorssl.study_figures import COLORS

Line = dict[str, Any]
HEAD = ("method", "epoch", "knn", "embedding_effective_rank", "backbone_effective_rank", "backbone_log10_condition")


def measured(folder: Path) -> list[Line]:
    """Each epoch after which both were measured, with its 20-NN accuracy among its spectra."""
    steps, spectra = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("steps.jsonl", "spectra.jsonl")
    )
    accuracy = {line["epoch"]: line["knn"] for line in steps if "knn" in line}
    return [{**line, "knn": accuracy[line["epoch"]]} for line in spectra if line["epoch"] in accuracy]


def rows(method: str, lines: Sequence[Line]) -> Iterator[tuple[str | float, ...]]:
    """Those of curves.csv."""
    for line in lines:
        embedding, backbone = line["embedding"], line["backbone"]
        ranks = (embedding["effective_rank"], backbone["effective_rank"], backbone["log10_condition"])
        yield method, line["epoch"] + 1, *(f"{each:.4g}" for each in (line["knn"], *ranks))


def main(out: Path, folders: Sequence[Path]) -> None:
    """Write both files, best run first."""
    runs = {folder.name: measured(folder) for folder in folders}
    runs = dict(sorted(runs.items(), key=lambda item: -item[1][-1]["knn"]))
    with (out / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        writer.writerows(row for method, lines in runs.items() for row in rows(method, lines))
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    learning, rank, spectrum = figure.subplots(1, 3)
    styles = zip(cycle(COLORS), [*["-"] * len(COLORS), *["--"] * len(COLORS)], strict=False)
    for (method, lines), (color, dash) in zip(runs.items(), styles, strict=False):
        style: dict[str, Any] = {"color": color, "linestyle": dash, "linewidth": 1.6}
        style["label"] = METHODS.summary(method).partition(":")[0]
        epochs = [line["epoch"] + 1 for line in lines]
        learning.plot(epochs, [line["knn"] for line in lines], **style)
        rank.plot(epochs, [line["embedding"]["effective_rank"] for line in lines], **style)
        eigenvalues = lines[-1]["backbone"]["eigenvalues"]
        spectrum.plot(range(1, len(eigenvalues) + 1), [each / eigenvalues[0] for each in eigenvalues], **style)
    learning.set(title="20-NN accuracy, %", xlabel="epoch")
    rank.set(title="Effective rank of the embedding", xlabel="epoch", yscale="log")
    spectrum.set(title="Spectrum of the backbone's features", xlabel="rank of the eigenvalue", yscale="log")
    spectrum.set(ylabel="eigenvalue / largest", ylim=(1e-4, 1.5))
    for axes in (learning, rank, spectrum):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = learning.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, handlelength=3)
    figure.savefig(out / "learning.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]])
