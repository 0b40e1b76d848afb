"""The leaderboard merges only what may be merged, marks the best, hides nothing and is written in every format."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded import NETWORK, a_record
from rich.console import Console

from transferbench import tables
from transferbench.checkpoints import Card, Origin
from transferbench.data.transforms import Preprocess
from transferbench.records import Record
from transferbench.tables import Choice, Leaderboard, grid, latex, leaderboard, markdown, wide


def numbers(board: Leaderboard) -> dict[str, list[tuple[float, int]]]:
    return {
        row.name: [(cell.mean, cell.n) for column in board.columns if (cell := row.cells.get(column))]
        for row in board.rows
    }


def test_seeds_of_one_recipe_are_one_row_with_sample_standard_deviation():
    board = leaderboard([a_record(value=value, seed=seed) for seed, value in enumerate((90.0, 92.0, 94.0))])
    (cell,) = board.rows[-1].cells.values()
    assert (cell.mean, cell.std, cell.n) == (92.0, 2.0, 3)


def test_weights_of_unknown_origin_are_rows_of_their_own_told_apart_by_digest():
    one, other = a_record(seed=None, digest="1" * 64), a_record(seed=None, digest="2" * 64, value=60.0)
    assert list(numbers(leaderboard([one, other]))) == ["chance", "INTL [222222]", "INTL [111111]"]


def test_other_preprocessing_or_network_is_another_row():
    small = Card(architecture=NETWORK, preprocess=Preprocess(crop=96), origin=Origin(method="intl", seed=1))
    assert len(leaderboard([a_record(), a_record(card=small)]).rows) == 3


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        ({"protocol_sha256": "q" * 64}, [r"k-NN \[pppppp\]", r"k-NN \[qqqqqq\]"]),
        ({"data_fingerprint": {"train": "b"}}, [r"k-NN \[data \w{6}\]", r"k-NN \[data \w{6}\]"]),
        ({"limit": 50}, ["k-NN", r"k-NN \[50 images\]"]),
    ],
    ids=["protocol", "data", "limit"],
)
def test_other_protocols_or_data_are_never_merged_and_told_apart(change: dict[str, Any], labels: list[str]):
    board = leaderboard([a_record(), a_record(value=60.0, **change)], Choice(limited=True))
    found = sorted(column.label for column in board.columns)
    assert len(found) == 2
    assert all(re.fullmatch(want, got) for want, got in zip(labels, found, strict=True))


def test_labels_carry_no_hash_when_they_need_none_and_stand_in_natural_order():
    given = [("semi", "10 %"), ("semi", "1 %"), ("spectrum", "RankMe"), ("knn", "k-NN")]
    board = leaderboard([a_record(task=task, label=label, protocol_sha256=label * 10) for task, label in given])
    assert [column.label for column in board.columns] == ["k-NN", "1 %", "10 %", "RankMe"]


def test_what_is_left_out_is_counted_by_reason():
    edited = a_record(seed=5).model_copy(update={"seconds": 2.0})
    others = [a_record(status="failed"), a_record(status="skipped", scores=()), a_record(limit=9), edited]
    board = leaderboard([a_record(), *others], unreadable=2)
    assert board.left_out == {"failed": 1, "skipped": 1, "limited": 1, "edited or unreadable": 3}
    assert numbers(board)["INTL"] == [(50.0, 1)]
    assert "3 edited or unreadable, 1 failed, 1 limited, 1 skipped" in markdown(grid(board))


def test_chance_and_control_stand_first_and_win_nothing():
    board = leaderboard([a_record("A", 50.0), a_record("B", 60.0), a_record("random-init", 99.0), a_record("C", 60.0)])
    assert list(numbers(board)) == ["chance", "random-init", "B", "C", "A"]
    (column,) = board.columns
    assert [board.place(row, column) for row in board.rows] == [None, None, 1, 1, 2]


def test_lower_is_better_where_the_score_says_so():
    board = leaderboard([a_record("A", 5.0, higher_is_better=False), a_record("B", 6.0, higher_is_better=False)])
    assert [row.name for row in board.rows[1:]] == ["A", "B"]
    assert board.place(board.rows[1], board.columns[0]) == 1
    assert "k-NN ↓" in markdown(grid(board))


def test_chance_is_shown_for_accuracies_only():
    assert "chance" not in numbers(leaderboard([a_record(metric="rankme")]))
    assert numbers(leaderboard([a_record()]))["chance"] == [(10.0, 0)]


def test_the_order_of_records_does_not_matter():
    found = [a_record(name, value) for name, value in (("A", 1.0), ("B", 2.0), ("C", 3.0), ("random-init", 4.0))]
    assert latex(grid(leaderboard(found))) == latex(grid(leaderboard(found[::-1])))
    assert tables.frame(found).equals(tables.frame(found[::-1]))


BOARD = [
    *(a_record("A_1 & Co", value, seed) for seed, value in enumerate((90.0, 92.0))),
    a_record("B", 80.0, label="10 %", task="semi"),
    a_record("B", 80.0),
    a_record("random-init", 30.0),
]


def test_latex_is_a_sound_table():
    text = latex(grid(leaderboard(BOARD)), "Digits & photos.", "tab:digits")
    assert r"A\_1 \& Co & resnet18 & \bfseries 91.00 +- 1.41" in text
    assert r"{\underline{\num{80.00}}}" in text
    assert r"\caption{Digits \& photos. Bold: best; underlined: second; chance" in text
    assert r" not ranked. $\pm$ is the sample standard" in text
    assert r"\label{tab:digits}" in text
    assert "{llS[table-format=2.2(3)]S[table-format=2.2]}" in text
    assert r"10 \%" in text
    assert text.count("{") == text.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {3}
    assert text.isascii()
    assert [command for command in (r"\toprule", r"\midrule", r"\bottomrule") if command not in text] == []


@pytest.mark.parametrize(
    ("records", "caption", "said"),
    [
        (BOARD, "Digits", r"\caption{Digits. Bold: best"),
        (BOARD, "", r"\caption{Bold: best"),
        (BOARD[:1], "Digits", r"\caption{Digits}"),
        (BOARD[:1], "", None),
    ],
)
def test_a_caption_ends_before_the_notes_and_none_is_empty(records: list[Record], caption: str, said: str | None):
    text = latex(grid(leaderboard(records)), caption)
    assert said in text if said else r"\caption" not in text


def test_weights_that_stand_in_two_rows_are_said_to_be_the_same():
    twice = [a_record("A", 50.0, digest="a" * 64), a_record("ROW", 50.0, digest="a" * 64), a_record("B", 40.0)]
    assert "The same weights under 2 names: A, ROW." in grid(leaderboard(twice)).notes
    assert not any("same weights" in note for note in grid(leaderboard(twice[1:])).notes)


def test_markdown_marks_best_and_second_and_keeps_its_columns():
    text = markdown(grid(leaderboard(BOARD)))
    assert "**91.00** ± 1.41" in text
    assert "<u>80.00</u>" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {5}
    assert "standard deviation over 2 runs" in text


def test_the_terminal_table_shows_the_same_numbers():
    console = Console(width=120, record=True, file=None)
    with console.capture() as shown:
        console.print(tables.terminal(grid(leaderboard(BOARD))))
    for text in ("91.00 ± 1.41", "80.00", "random-init", "chance", "A_1 & Co"):
        assert text in shown.get()


def test_wide_holds_numbers_and_long_holds_everything(tmp_path: Path):
    board = leaderboard(BOARD)
    paths = tables.write(tmp_path, BOARD, board)
    assert sorted(path.name for path in paths) == [
        "leaderboard-table.tex",
        "leaderboard.csv",
        "leaderboard.html",
        "leaderboard.json",
        "leaderboard.md",
        "leaderboard.tex",
        "records.csv",
    ]
    numbers_ = pd.read_csv(tmp_path / "leaderboard.csv").set_index("name")
    assert numbers_.loc["A_1 & Co", "digits k-NN mean"] == 91.0
    assert numbers_.loc["A_1 & Co", "digits k-NN n"] == 2
    assert set(wide(board)) == {
        *("kind", "name", "architecture", "method", "mean_rank", "borda", "average"),
        *(f"digits {label} {part}" for label in ("k-NN", "10 %") for part in ("mean", "std", "n")),
    }
    long = pd.read_csv(tmp_path / "records.csv")
    assert len(long) == len(BOARD)
    told = set(long.columns)
    summarized = {"scores"}
    assert set(Record.model_fields) - summarized <= told
    assert {"top1", "top1_n", "extra", "extra_low", "extra_high", "architecture", "identity", "origin_seed"} <= told
    assert long.loc[0, "config"] == '{"k":5,"note":"a,b"}'
    assert long.loc[0, "commit"] == "c0ffee"


def test_no_records_make_an_empty_leaderboard():
    board = leaderboard([a_record(status="failed")])
    assert (board.columns, board.rows, board.left_out) == ((), (), {"failed": 1})
    assert tables.frame([]).empty


def test_lines_say_result_failure_and_skip():
    assert "50.00 %  top1 (1.0 s)" in tables.line(a_record())
    assert "kept from before" in tables.line(a_record(), is_old=True)
    crash = a_record(status="failed", error="Traceback (most recent call last):\n  x\nValueError: bad")
    assert tables.line(crash).endswith("failed: ValueError: bad")
    assert tables.line(a_record(status="skipped", error="No data.\nGet it.")).endswith("skipped: No data.")


@pytest.mark.parametrize("change", [{"limit": 9}, {"status": "failed", "scores": ()}], ids=["limited", "failed"])
def test_a_table_without_results_is_not_written(change: dict[str, Any], tmp_path: Path):
    found = [a_record(**change)]
    assert tables.write(tmp_path, found, leaderboard(found)) == []
    assert list(tmp_path.iterdir()) == []
