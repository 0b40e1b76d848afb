"""What a table shows is chosen by conditions and patterns; ranks, tests and merged columns say what they should."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from recorded import a_record
from scipy import stats

from transferbench.checkpoints import Card, Origin
from transferbench.errors import UserError
from transferbench.records import Record, Score
from transferbench.tables import Choice, Form, grid, html, latex, leaderboard, markdown, wide
from transferbench.tables.board import Leaderboard
from transferbench.tables.latex import document

ONE, OTHER = "1" * 64, "2" * 64
TABLE = [
    a_record("A", 50.0),
    a_record("B", 60.0),
    a_record("A", 9.0, task="semi", label="10 %", protocol_sha256=ONE),
    a_record("B", 7.0, task="semi", label="10 %", protocol_sha256=ONE),
]


def names(board: Leaderboard) -> list[str]:
    return [row.name for row in board.rows if row.kind == "candidate"]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        (["candidate=A"], ["A"]),
        (["candidate!=A"], ["B"]),
        (["method=?", "task=knn", "dataset=dig*"], ["B", "A"]),
        (["config.k>=5"], ["A", "B"]),
        (["config.k<5"], []),
        (["epochs>1"], []),
        (["label = 10 %"], ["A", "B"]),
    ],
)
def test_conditions_choose_records(where: list[str], left: list[str]):
    assert names(leaderboard(TABLE, Choice(where=tuple(where)))) == left


@pytest.mark.parametrize(
    ("where", "said"),
    [("candidat=A", "Did you mean 'candidate'"), ("A", "Expected FIELD=PATTERN"), ("epochs>many", "expected a number")],
)
def test_a_condition_that_cannot_be_read_is_an_error(where: str, said: str):
    with pytest.raises(UserError, match=said):
        leaderboard(TABLE, Choice(where=(where,)))


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (["semi", "knn"], ["10 %", "k-NN"]),
        (["digits.*"], ["k-NN", "k-NN extra", "10 %", "10 % extra"]),
        (["knn.extra", "10 %"], ["extra", "10 %"]),
        (["digits"], ["k-NN", "10 %"]),
    ],
)
def test_columns_are_chosen_in_the_order_that_is_asked(columns: list[str], labels: list[str]):
    found = [column.label for column in leaderboard(TABLE, Choice(columns=tuple(columns))).columns]
    assert found == labels


def test_a_column_that_nothing_answers_to_is_an_error():
    with pytest.raises(UserError, match=r"Unknown column 'knn.extrra'. Did you mean 'knn.extra'"):
        leaderboard(TABLE, Choice(columns=("knn.extrra",)))


@pytest.mark.parametrize(("sort", "order"), [("name", ["A", "B"]), ("knn", ["B", "A"]), ("semi.top1", ["A", "B"])])
def test_rows_are_sorted_as_asked(sort: str, order: list[str]):
    assert names(leaderboard(TABLE, Choice(sort=sort))) == order


def test_an_order_there_is_not_is_an_error():
    with pytest.raises(UserError, match=r"Unknown order 'ranks'. Did you mean 'rank'"):
        leaderboard(TABLE, Choice(sort="ranks"))


def test_rankings_are_scipys():
    values = {"A": (50.0, 9.0, 3.0), "B": (60.0, 7.0, 3.0), "C": (60.0, 8.0, 1.0)}
    found = [
        a_record(name, value, label=label, task=label, protocol_sha256=label * 60)
        for name, row in values.items()
        for label, value in zip("xyz", row, strict=True)
    ]
    table = np.array(list(values.values()))
    ranks = stats.rankdata(-table, axis=0)
    rows = {row.name: row.ranking for row in leaderboard(found).rows}
    for i, name in enumerate(values):
        ranking = rows[name]
        assert ranking is not None
        assert ranking.mean_rank == pytest.approx(ranks[i].mean())
        assert ranking.borda == pytest.approx((3 - ranks[i]).sum() / 6)
        assert ranking.average == pytest.approx(table[i].mean())


def test_no_average_where_a_number_is_missing():
    rows = {row.name: row.ranking for row in leaderboard(TABLE[:3]).rows if row.ranking}
    assert rows["A"].average is not None
    assert rows["B"].average is None


def hits(record: Record) -> np.ndarray | None:
    """So many of 100 images as the record's value says."""
    return np.arange(100) < record.scores[0].value


@pytest.mark.parametrize(("second", "ahead"), [(50.0, True), (58.0, False)])
def test_the_best_is_marked_when_mcnemars_test_says_so(second: float, ahead: bool):
    board = leaderboard([a_record("A", second), a_record("B", 60.0)], hits=hits)
    marks = {row.name: cell.is_ahead for row in board.candidates for cell in row.cells.values()}
    assert marks == {"A": False, "B": ahead}
    assert ("McNemar" in markdown(grid(board))) == ahead


@pytest.mark.parametrize(("spread", "ahead"), [(0.1, True), (20.0, False)])
def test_over_seeds_the_test_is_a_paired_t_test(spread: float, ahead: bool):
    drawn = np.random.default_rng(0).standard_normal(4)
    found = [a_record("A", 50 + spread * float(drawn[seed]), seed) for seed in range(4)]
    found += [a_record("B", 52.0, seed) for seed in range(4)]
    p = float(stats.ttest_rel([52.0] * 4, [record.scores[0].value for record in found[:4]])[1])
    assert (p < 0.05) == ahead
    board = leaderboard(found, hits=lambda record: None)
    assert any(cell.is_ahead for row in board.candidates for cell in row.cells.values()) == ahead


def test_two_runs_are_too_few_for_a_test():
    found = [a_record(name, value + seed, seed) for name, value in (("A", 10.0), ("B", 80.0)) for seed in (0, 1)]
    board = leaderboard(found, hits=hits)
    assert not any(cell.is_ahead for row in board.candidates for cell in row.cells.values())


def test_protocols_share_a_column_only_when_asked_and_with_a_footnote():
    found = [a_record("A", 50.0), a_record("B", 60.0, protocol_sha256=OTHER)]
    assert len(leaderboard(found).columns) == 2
    board = leaderboard(found, Choice(merged=True))
    assert len(board.columns) == 1
    assert set(board.footnotes) == {"a", "b"}
    text = markdown(grid(board))
    assert "60.00" in text
    assert f"protocol {OTHER[:12]}" in text


def test_a_row_with_two_protocols_keeps_their_columns_apart():
    found = [a_record("A", 50.0), a_record("A", 60.0, protocol_sha256=OTHER), a_record("B", 40.0)]
    assert len(leaderboard(found, Choice(merged=True)).columns) == 2


def test_weights_trained_with_labels_are_a_control():
    card = Card(**{**dict(a_record().card), "origin": Origin(method="supervised")})
    board = leaderboard([a_record("A", 50.0), a_record("labels", 99.0, card=card)])
    assert [(row.kind, row.name) for row in board.rows[1:]] == [("control", "labels"), ("candidate", "A")]


def test_a_transposed_table_has_tasks_as_lines():
    laid = Form(transpose=True).laid(leaderboard(TABLE))
    lines = markdown(laid).splitlines()
    assert lines[0] == "| Data | Task | chance | A | B |"
    assert lines[2].startswith("| digits | k-NN | 10.00 | <u>50.00</u> | **60.00** |")


def test_html_is_whole_and_fetches_nothing():
    from html.parser import HTMLParser

    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    text = html(grid(leaderboard([a_record("<script>", 1.0)])), "A & B")
    parser.feed(text)
    assert "script" not in seen
    assert "http" not in text
    assert seen.count("td") == seen.count("tr") - 1
    assert "A &amp; B" in text


def test_the_document_holds_the_table_to_input():
    table = latex(grid(leaderboard(TABLE)))
    text = document(table)
    assert table.strip() in text
    for package in ("booktabs", "siunitx"):
        assert rf"\usepackage{{{package}}}" in text


def test_wide_leaves_out_what_no_row_has():
    board = leaderboard(TABLE)
    assert not any("published" in str(name) for name in wide(board))
    assert isinstance(wide(board), pd.DataFrame)


def with_score(record: Record, **scores: Any) -> Record:
    more = tuple(Score(metric=name, value=value, n=1) for name, value in scores.items())
    return record.model_copy(update={"scores": (*record.scores, *more)}).sealed()


def test_diagnostics_are_columns_beside_accuracy():
    found = [with_score(a_record("A", 50.0), stable_rank=3.0), with_score(a_record("B", 60.0), stable_rank=9.0)]
    board = leaderboard(found, Choice(columns=("knn", "*.stable_rank"), sort="knn.stable_rank"))
    assert [column.label for column in board.columns] == ["k-NN", "stable_rank"]
    assert names(board) == ["B", "A"]
