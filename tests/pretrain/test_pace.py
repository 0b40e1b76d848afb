"""The speed of a run is told from its lines: steps count, evaluation does not, and a resumed run is one run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decorssl import pace, runlog
from decorssl.cli import app
from transferbench.errors import UserError


def steps(first: int, last: int, seconds: float) -> list[dict[str, float]]:
    return [{"step": i, "epoch": i // 10, "seconds": seconds, "waited": seconds / 4} for i in range(first, last)]


LINES = [
    *steps(0, 10, 2.0),
    {"step": 9, "epoch": 0, "knn": 48.0},
    *steps(10, 20, 1.0),
    {"step": 19, "epoch": 1, "knn": 61.0},
    *steps(20, 30, 3.0),
    {"step": 29, "epoch": 2, "knn": 59.0},
]


def test_time_to_a_level_is_that_of_the_steps_before_the_first_check_at_it():
    found = pace.of("run", LINES, 8)
    assert (found.seconds, found.waited, found.images, found.best) == (60.0, 15.0, 240, 61.0)
    at_half, at_most = found.reached(50.0), found.reached(61.0)
    assert at_half == at_most == pace.AccuracyPoint(1, 61.0, 30.0)
    assert found.reached(61.1) is None


def test_a_table_has_the_levels_that_a_run_reached():
    other = pace.of("other", [*steps(0, 10, 0.5), {"step": 9, "epoch": 0, "knn": 85.5}], 8)
    head, first, second = pace.table([pace.of("run", LINES, 8), other, pace.of("new", [], 8)]).splitlines()[:3]
    assert head.split("  ")[-1].strip() == "s to 85 %"
    assert "s to 90 %" not in head
    assert first.split() == ["run", "4", "25.0%", "0:01:00", "61.00", "%", "30", "30", "-", "-", "-"]
    assert second.split()[-6:] == ["%", "5", "5", "5", "5", "5"]
    assert pace.table([pace.of("new", [], 8)]).splitlines()[1].split() == ["new", "0", "0.0%", "0:00:00", "-"]


def test_the_command_tells_of_runs_that_are_there_and_names_one_that_is_not(tmp_path: Path):
    (tmp_path / runlog.RECIPE).write_text(json.dumps({"batch_size": 8}))
    (tmp_path / runlog.STEPS).write_text("\n".join(map(json.dumps, LINES)) + '\n{"step": 30, "sec')
    told = CliRunner().invoke(app, ["times", str(tmp_path)], catch_exceptions=False)
    assert told.stdout.split()[-5:] == ["0:01:00", "61.00", "%", "30", "30"]
    with pytest.raises(UserError, match="There is no run in"):
        CliRunner().invoke(app, ["times", str(tmp_path / "none")], catch_exceptions=False)
