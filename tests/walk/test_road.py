"""The whole road as a newcomer walks it: images, backbone, records, leaderboard."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
SCENES = "SOLVER.MAX_ITER 2 SOLVER.STEPS (1,) TEST.PRECISE_BN.NUM_ITER 1"
QUICK = ["--set", "linear.epochs=2", "--set", "semi.epochs=2", "--set", f"detect.overrides={SCENES}"]


@pytest.fixture(scope="module")
def run_folder(pretrain: Command, recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("road") / "run"
    done = pretrain("intl", "--recipe", recipe_path, "--out", folder, "--knn-every", 2)
    assert done.returncode == 0, done.stderr
    assert "k-NN" in done.stdout
    return folder


@pytest.fixture(scope="module")
def everything(run_folder: Path) -> list[str | Path]:
    """Every job of `quick`: a suite of one's own keeps the embedded detector beside images of one's own."""
    suite = run_folder.parent / "everything.yaml"
    suite.write_text("extends: quick\n")
    return [run_folder / "backbone.safetensors", "--suite", suite, *QUICK]


@pytest.fixture(scope="module")
def results(evaluate: Command, everything: list[str | Path], run_folder: Path, digit_folder: Path) -> Path:
    out = run_folder.parent / "results"
    done = evaluate("all", *everything, "--data", digit_folder, "--out", out)
    assert done.returncode == 0, done.stderr
    for word in ("walk", "random-init", "k-NN", "linear", "logistic", "RankMe", "1 %", "10 %"):
        assert word in done.stdout, done.stdout
    return out


def test_a_run_folder_says_how_it_came_about(run_folder: Path) -> None:
    recipe = json.loads((run_folder / "recipe.json").read_text())
    environment = json.loads((run_folder / "environment.json").read_text())
    steps = [json.loads(line) for line in (run_folder / "steps.jsonl").read_text().splitlines()]
    assert recipe["settings"] == {"iterations": 4, "covariance_between": "samples", "trade_off": None}
    assert recipe["precision"] == "float32"
    assert environment["packages"]["torch"]
    assert [s["step"] for s in steps if "loss" in s] == list(range(1, 29))
    assert [s["epoch"] for s in steps if "knn" in s] == [1, 3]


def test_every_job_of_every_candidate_leaves_a_record(results: Path) -> None:
    found = [json.loads(path.read_text()) for path in (results / "records").glob("*.json")]
    assert len(found) == 16
    assert {record["status"] for record in found} == {"ok"}
    assert {record["candidate"] for record in found} == {"walk", "random-init"}
    assert {record["frozen"] for record in found if record["task"] not in ("semi", "detect")} == {True}
    ours = next(record for record in found if record["candidate"] == "walk" and record["task"] == "knn")
    assert ours["card"]["origin"]["method"] == "intl"
    assert ours["card"]["origin"]["data"] == "small-digits"
    assert ours["load_report"]["matched"] == 72


def test_a_second_call_runs_nothing(
    results: Path, everything: list[str | Path], digit_folder: Path, evaluate: Command
) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    done = evaluate("all", *everything, "--data", digit_folder, "--out", results)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in results.rglob("*.json")} == before


def test_tables_are_made_from_the_records(results: Path, evaluate: Command, tmp_path: Path) -> None:
    done = evaluate("table", results, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    written = {path.suffix for path in tmp_path.iterdir()}
    assert {".csv", ".tex", ".md"} <= written
    long = next(path for path in tmp_path.glob("*.csv") if "long" in path.name or "records" in path.name)
    rows = list(csv.DictReader(long.open()))
    assert {row["candidate"] for row in rows} == {"walk", "random-init"}
    assert r"\toprule" in next(tmp_path.glob("*.tex")).read_text()


def test_inspect_tells_what_the_file_is(run_folder: Path, evaluate: Command) -> None:
    done = evaluate("inspect", run_folder / "backbone.safetensors")
    assert done.returncode == 0, done.stderr
    for word in ("resnet10-w0.125-cifar", "intl", "transferbench"):
        assert word in done.stdout


def test_a_truncated_checkpoint_is_refused_and_nothing_is_written(
    run_folder: Path, digit_folder: Path, evaluate: Command, tmp_path: Path
) -> None:
    broken = tmp_path / "half.safetensors"
    broken.write_bytes((run_folder / "backbone.safetensors").read_bytes()[:5000])
    done = evaluate("all", broken, "--data", digit_folder, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "half.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
