"""`evaluate show`: every setting of a task, a suite and a detection recipe; and folders that are named by `--in`."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
from recorded import a_record

from transferbench import records, suite
from transferbench.backbones import FAMILIES
from transferbench.cli import app
from transferbench.detection.recipe import DetectionRecipe, named
from transferbench.errors import UserError
from transferbench.fields import rows, shown
from transferbench.records.collection import Collection
from transferbench.runtime.slurm import SlurmRequest
from transferbench.sheets import sheet
from transferbench.suite import SuiteEntry, plan
from transferbench.tasks import TASKS

Run = Callable[..., tuple[int, str, str]]
MODELS = {
    **{f"task {name}": task.Config for name, task in TASKS.all()},
    **{f"family {name}": family.Arguments for name, family in FAMILIES.all()},
    "suite": suite.Suite,
    "job": SuiteEntry,
    "detection recipe": DetectionRecipe,
    "slurm": SlurmRequest,
}


def cells(text: str, name: str) -> list[str]:
    """The cells of the line that begins with `name`."""
    line = next(line for line in text.splitlines() if line.startswith(f"{name}  "))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.mark.parametrize("kind", MODELS)
def test_every_setting_says_what_it_means(kind: str):
    assert [row.name for row in rows(MODELS[kind]) if not row.meaning] == []


def test_a_task_is_shown_with_type_range_default_and_meaning(evaluate: Run):
    code, out, err = evaluate("show", "knn")
    assert (code, err) == (0, "")
    assert cells(out, "k") == ["k", "int >= 1", "20", "k of the main score"]
    assert cells(out, "vote")[1:3] == ["majority | weighted", "weighted"]
    assert cells(out, "per_class")[1:3] == ["int >= 1 | none", "none"]
    assert "an orientation noted in EXIF is not applied" in out
    assert cells(out, "wmse5")[1] == "ks=[5], k=5, metric=euclidean, vote=majority"
    assert out.splitlines()[-2:] == ["evaluate knn FILE --set knn.k=5", "evaluate knn FILE --set knn.preset=wmse5"]


def test_what_is_piped_is_plain_text_of_full_width(evaluate: Run):
    out = evaluate("show", "micro-r18-c4")[1]
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) > 150
    assert all(line == line.rstrip() for line in out.splitlines())


def test_a_terminal_gets_a_table_of_its_width(evaluate: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    from transferbench.cli import showing

    shown_lines: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text: shown_lines.extend(text.splitlines()))
    showing.draw(sheet("linear"))
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in shown_lines]
    assert plain != shown_lines
    assert 60 < max(map(len, plain)) <= 90


@pytest.mark.parametrize("name", TASKS.names())
def test_the_examples_of_every_task_can_be_asked_for(name: str):
    found = sheet(name)
    settings = [line[0] for line in found.grids[0].lines]
    assert settings == list(TASKS.load(name).Config.model_fields)
    assert found.examples
    for example in found.examples:
        override = example.partition("--set ")[2]
        assert plan({"digits": suite.Suite(name="s", jobs=(SuiteEntry(task=name),))}, [override])


def test_a_task_says_where_the_suite_of_most_data_sets_differs_from_its_defaults():
    assert "`evaluate linear FILE` takes" in sheet("linear").text
    assert sheet("linear").text.endswith("are not the defaults: linear: epochs=15.")
    assert "semi-1: epochs=15, percent=1; semi-10: epochs=15" in sheet("semi").text
    assert "FILE" not in sheet("knn").text + sheet("fewshot").text


@pytest.mark.parametrize("name", [name for name in TASKS.names() if TASKS.load(name).Config.PRESETS])
def test_every_preset_is_shown_with_its_values_and_its_source(name: str):
    config = TASKS.load(name).Config
    assert set(config.SOURCES) == set(config.PRESETS)
    for preset, values, source in sheet(name).grids[1].lines:
        assert source == config.SOURCES[preset]
        given = dict(each.split("=", 1) for each in values.replace(", ", "\n").splitlines() if "=" in each)
        beside = {"percent": given["percent"]} if "percent" in given else {}
        meant = config.model_validate({"preset": preset, **beside})
        for key in given:
            assert f"{key}={shown(getattr(meant, key))}" in values


def test_a_task_of_ones_own_is_shown_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluate: Run):
    (tmp_path / "own_of_show").mkdir()
    (tmp_path / "own_of_show" / "task.py").write_text(
        '"""Mine."""\nfrom transferbench.settings import Settings\nfrom pydantic import Field\n'
        "VERSION, FROZEN, PRIMARY = '1', True, 'top1'\n"
        "class Config(Settings):\n    depth: int = Field(8, ge=1, le=9, description='how deep')\n"
        "def label(config): return 'own'\ndef run(candidate, dataset, config, seed, bench): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    out = evaluate("show", "own_of_show.task")[1]
    assert cells(out, "depth") == ["depth", "int in [1, 9]", "8", "how deep"]
    assert "evaluate own_of_show.task FILE --set own_of_show.task.depth=2" in out


def test_a_suite_is_shown_with_its_jobs_and_what_they_change(evaluate: Run, tmp_path: Path):
    out = evaluate("show", "paper-cifar")[1]
    assert cells(out, "knn-5") == [
        *("knn-5", "knn", "preset=wmse5", "k=5, ks=[5], metric=euclidean, vote=majority", "any")
    ]
    (tmp_path / "mine.yaml").write_text(
        "summary: of my own\njobs: [{task: semi, settings: {percent: 1}, data: [pets]}]"
    )
    out = evaluate("show", "mine.yaml")[1]
    assert out.startswith("Suite mine\nof my own\n")
    assert cells(out, "semi") == ["semi", "semi", "percent=1", "percent=1", "pets"]


def test_a_detection_recipe_is_shown_by_its_main_keys(evaluate: Run, tmp_path: Path):
    for name in named.names():
        assert sheet(name).grids[0].lines
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {named.file_of('micro-r18-c4')}\nSOLVER: {{MAX_ITER: 7}}\n")
    out = evaluate("show", "mine.yaml")[1]
    assert cells(out, "SOLVER.MAX_ITER") == ["SOLVER.MAX_ITER", "int >= 1", "40000", "7", "*", "iterations in all"]
    assert cells(out, "SOLVER.WEIGHT_DECAY")[3:] == ["0.0001", "added to the gradient"]


def test_a_name_that_nothing_has_is_met_with_the_nearest(evaluate: Run):
    code, out, err = evaluate("show", "liner")
    assert (code, out) == (2, "")
    assert err.startswith("Unknown task, suite or detection recipe 'liner'. Did you mean 'linear'?")


def test_every_help_points_to_show(evaluate: Run):
    commands = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    for words in ([], *([name] for name in commands)):
        assert "evaluate show TASK" in " ".join(evaluate(*words, "--help")[1].split())
    assert "evaluate show knn" in evaluate("knn", "--help")[1]


def test_a_description_of_a_base_class_serves_where_a_default_is_changed():
    class Base(pydantic.BaseModel):
        epochs: int = pydantic.Field(ge=1, description="passes")

    class Own(Base):
        epochs: int = pydantic.Field(5, ge=1)

    assert [(row.default, row.meaning) for row in rows(Own)] == [(5, "passes")]


def kept(folder: str, *found: records.Record) -> str:
    for record in found:
        records.write(Path(folder, records.RECORDS), record)
    return folder


def test_folders_are_named_with_and_without_in_and_count_once(evaluate: Run):
    kept("one", a_record("ours", 60.0))
    kept("two", a_record("theirs", 40.0))
    plain = evaluate("table", "one", "two", "--no-published")
    assert plain[0] == 0
    assert plain[1].count("| ours |") == plain[1].count("| theirs |") == 1
    for places in (["--in", "one", "--in", "two"], ["one", "--in", "two"], ["one", "two", "--in", "./one"]):
        assert evaluate("table", *places, "--no-published") == plain
    assert "wrote one" in evaluate("table", "one", "--in", "one")[1]
    assert evaluate("pack", "a.zip", "one", "two")[0] == 0
    assert evaluate("pack", "b.zip", "--in", "one", "--in", "two", "--in", "two")[0] == 0
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()


def test_two_folders_are_compared_and_gated_together(evaluate: Run):
    kept("one", a_record("ours", 60.0))
    kept("two", a_record("theirs", 40.0))
    kept("base", a_record("ours", 61.0), a_record("theirs", 39.5))
    code, out, _ = evaluate("compare", "ours", "theirs", "--in", "one", "--in", "two")
    assert (code, "-20.00" in out) == (0, True)
    assert "neither a file nor a candidate in one." in evaluate("compare", "ours", "theirs", "--in", "one")[2]
    assert evaluate("gate", "--in", "one", "--in", "two", "--against", "base")[0] == 0
    assert evaluate("gate", "one", "--in", "two", "--against", "base")[0] == 0
    assert evaluate("gate", "one", "--against", "base")[0] == 1
    code, _, err = evaluate("gate", "one", "--in", "base", "--against", "base")
    assert (code, err) == (2, "base would be compared with itself. Name the baseline's folder with --against.\n")


def test_a_report_takes_its_folders_by_in(evaluate: Run, monkeypatch: pytest.MonkeyPatch):
    from transferbench import report

    class SeenError(Exception):
        """What the page would be made of."""

    def build(there: Collection, choice: Any, sources: Any, say: Any) -> Any:
        raise SeenError([record.candidate for record in there.records])

    monkeypatch.setattr(report, "build", build)
    kept("one", a_record("ours", 60.0))
    kept("two", a_record("theirs", 40.0))
    with pytest.raises(SeenError, match=r"\['ours', 'theirs'\]"):
        evaluate("report", "one", "--in", "two", "--in", "one")


def test_a_name_with_a_dot_that_cannot_be_imported_is_told():
    with pytest.raises(UserError, match=r"Cannot import the task 'no\.such'"):
        sheet("no.such")
