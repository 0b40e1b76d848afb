"""The page of runs: each curve from the lines that runs write, and nothing where nothing was watched."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decorssl import run_charts, runlog
from decorssl.cli import app
from transferbench.errors import UserError


def a_run(folder: Path, lines: list[dict[str, object]], spectra: list[dict[str, object]] = []) -> Path:  # noqa: B006
    folder.mkdir()
    (folder / runlog.RECIPE).write_text(json.dumps({"summary": f"run {folder.name}"}))
    for name, each in ((runlog.STEPS, lines), (runlog.SPECTRA, spectra)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in each))
    return folder


STEPS: list[dict[str, object]] = [
    {"step": 1, "epoch": 0, "loss": 4.0, "lr": 1.0, "seconds": 1.0, "waited": 0.0},
    {"step": 2, "epoch": 0, "loss": 2.0, "lr": 1.0, "seconds": 1.0, "waited": 0.0},
    {"step": 3, "epoch": 1, "loss": 1.0, "lr": 1.0, "seconds": 1.0, "waited": 0.0},
    {"step": 3, "epoch": 1, "knn": 40.0},
    {"step": 3, "epoch": 1, "linear": 45.0},
]


def test_losses_are_means_over_epochs_and_what_was_watched_has_a_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spectra: list[dict[str, object]] = [{"step": 2, "epoch": 0, "embedding": {"rank_share": 0.25}}]
    folders = [a_run(tmp_path / "a", STEPS, spectra), a_run(tmp_path / "b", STEPS[:3])]
    drawn: list[object] = []
    monkeypatch.setattr(run_charts.page, "plain", lambda title, said, charts: drawn.extend((said, charts)) or "")
    run_charts.page_of(folders)
    said, charts = drawn
    assert said == [f"{folders[0]}: run a", f"{folders[1]}: run b"]
    assert isinstance(charts, list)
    found = {chart.key: [(each.name, each.xs, each.ys) for each in chart.series] for chart in charts}
    assert found == {
        "loss": [(str(each), (1, 2), (3.0, 1.0)) for each in folders],
        "knn": [(str(folders[0]), (2,), (40.0,))],
        "linear": [(str(folders[0]), (2,), (45.0,))],
        "embedding": [(str(folders[0]), (1,), (0.25,))],
    }


def test_the_command_writes_a_page_that_fetches_nothing(tmp_path: Path):
    folder, out = a_run(tmp_path / "a<b", STEPS), tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(folder), "-o", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    html = out.read_text()
    assert html.count("<figure") == 3
    assert "a&lt;b: run a&lt;b" in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert "<script" not in html


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no steps\.jsonl"):
        run_charts.page_of([tmp_path])
