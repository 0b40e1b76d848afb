"""Several methods trained alike, judged by one suite: found again, and told when one fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from decorssl import contest, runlog, session, study
from decorssl.cli import app, comparing
from transferbench.errors import UserError

TINY = ["limit=24", "batch_size=8", "backbone.arguments.width=0.0625", "projector.hidden=16", "epochs=1"]
HERE = session.RunOptions(device="cpu", workers=0, watch_every=0)
SUITE = "jobs: [{task: spectrum}]\n"


def entries(methods: list[str], out: Path, seeds: int = 1) -> list[contest.Entry]:
    return contest.entries(methods, ("intl-digits", "resnet10"), seeds, TINY, out, out)


def test_every_method_is_soon_there_once_and_has_a_folder_for_each_seed(tmp_path: Path) -> None:
    runs = entries(["intl", "vicreg"], tmp_path, seeds=2)
    assert [each.folder.name for each in runs] == ["intl-seed0", "vicreg-seed0", "intl-seed1", "vicreg-seed1"]
    assert [each.recipe.seed for each in runs] == [0, 0, 1, 1]
    assert len({json.dumps(each.recipe.model_dump(mode="json")["views"]) for each in runs}) == 1
    with pytest.raises(UserError, match="Each method runs once: found intl, intl"):
        entries(["intl", "intl"], tmp_path)


def test_what_cannot_work_is_refused_before_the_first_run(tmp_path: Path) -> None:
    runs = contest.entries(["intl", "wmse"], ("intl-digits", None), 1, [*TINY, "settings={}"], tmp_path, tmp_path)
    wrong = runs[1].recipe.model_copy(update={"settings": {**runs[1].recipe.settings, "w_size": 3}})
    with pytest.raises(UserError, match="w_size=3"):
        contest.train([runs[0], contest.Entry(wrong, runs[1].folder)], HERE, lambda text: None)
    assert not runs[0].folder.exists()


def test_data_without_labels_are_trained_on_where_others_are_named_to_judge_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    words = [*TINY, f"data={tmp_path}"]
    runs = contest.entries(["intl"], ("intl-digits", "resnet10"), 1, words, tmp_path / "out", tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path.name} has no labels.*--judge D"):
        contest.judged_on(runs, None, tmp_path)
    assert contest.judged_on(runs, "digits", tmp_path) == "digits"
    assert contest.judged_on(entries(["intl"], tmp_path), None, tmp_path) == "digits"


def test_a_run_that_fails_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, said = entries(["intl", "vicreg"], tmp_path), list[str]()

    def to_the_end(recipe: object, folder: Path, *rest: object) -> int:
        folder.mkdir(parents=True)
        (folder / (runlog.FAILURE if "intl" in folder.name else runlog.BACKBONE)).touch()
        return 0

    monkeypatch.setattr(study, "to_the_end", to_the_end)
    assert contest.train(runs, HERE, said.append) == 0
    assert [each.has_failed for each in runs] == [True, False]
    assert f"  its loss ceased to be finite: {runs[0].folder / runlog.FAILURE}" in said
    assert said[0] == "[1/2] INTL with the recipe intl-digits, seed 0" or said[0].startswith("[1/2] INTL")


def test_the_command_trains_judges_and_writes_a_table_and_its_repetition_does_nothing_again(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    words = ["compare", "intl", "vicreg", "--recipe", "intl-digits", "--arch", "resnet10", "--workers", "0"]
    words += ["--out", str(tmp_path / "out"), "--suite", str(tmp_path / "s.yaml"), "--device", "cpu"]
    words += [word for each in TINY for word in ("--set", each)]
    first = CliRunner().invoke(app, words, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    table = (tmp_path / "out/results/leaderboard.md").read_text()
    assert all(name in table for name in ("intl-digits (changed)", "vicreg-intl-digits (changed)", "random-init"))
    records = sorted((tmp_path / "out/results/records").rglob("*.json"))
    steps = (tmp_path / "out/intl-seed0" / runlog.STEPS).read_text()
    again = CliRunner().invoke(app, words, catch_exceptions=False)
    assert (again.exit_code, sorted((tmp_path / "out/results/records").rglob("*.json"))) == (0, records)
    assert (tmp_path / "out/intl-seed0" / runlog.STEPS).read_text() == steps


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare", "intl", "vicrg"], "Did you mean 'vicreg'"),
        (["compare", "intl", "--seed", "3"], "--seeds N"),
        (["compare", "intl", "--recipe", "smal-32"], "Did you mean 'small-32'"),
    ],
)
def test_what_is_wrong_is_told_before_torch_is_needed(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, words)
    assert told in str(result.exception)


def test_what_is_black_and_white_is_the_same_for_training_and_judging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(contest, "train", lambda *given: 0)
    monkeypatch.setattr(comparing, "_judge", lambda request, *rest: asked.append(request))
    words = ["compare", "intl", "--image-range", "0", "4095", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert asked[0].image_range == (0, 4095)
