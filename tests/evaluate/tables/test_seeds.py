"""A leaderboard counts each computation once, a control by its networks, and praises no number that training lost."""

from typing import Any

import pytest
from recorded import NETWORK, a_record
from rich.console import Console

from transferbench.backbones import Architecture
from transferbench.checkpoints import Card, Origin
from transferbench.data.transforms import Preprocess
from transferbench.records import Artifact, Record, Score
from transferbench.tables import Choice, Form, grid, html, latex, leaderboard, markdown, terminal, wide
from transferbench.tables.numbers import plain

CONTROL = "random-init"


def a_run(value: float, seed: int, seeded: bool | None = None, kept: str = "", **changes: Any) -> Record:
    """One network, whatever the seed of the task; `kept` is the hash of the file it leaves."""
    scores = (Score(metric="top1", value=value, n=100, seeded=seeded),)
    artifacts = {"predictions": Artifact(path="p", sha256=kept)} if kept else {}
    return a_record(**({"digest": "d" * 64} | changes), seed=None, scores=scores, artifacts=artifacts).model_copy(
        update={"seed": seed}
    )


def cells(found: list[Record]) -> dict[str, tuple[float, float | None, int]]:
    board = leaderboard([record.sealed() for record in found])
    return {
        row.name: (cell.mean, cell.std, cell.n)
        for row in board.rows
        if row.kind != "chance"
        for cell in row.cells.values()
    }


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ([a_run(50, seed, False) for seed in range(3)], (50, None, 1)),
        ([a_run(50, seed, True) for seed in range(3)], (50, 0, 3)),
        ([a_run(50, seed) for seed in range(3)], (50, None, 1)),
        ([a_run(50, seed, kept="f") for seed in range(3)], (50, None, 1)),
        ([a_run(50, seed, kept=str(seed)) for seed in range(3)], (50, 0, 3)),
        ([a_run(50, 0), a_run(50, 1), a_run(52, 2)], (51, pytest.approx(2**0.5), 2)),
        ([a_run(50, 0, False, written="2026-01-02"), a_run(49.99, 1, written="2026-01-01")], (50, None, 1)),
        ([a_run(50, 0, True)] * 2, (50, None, 1)),
    ],
    ids=["unseeded", "seeded", "unsaid", "unsaid, same file", "unsaid, other file", "mixed", "machines", "twice"],
)
def test_the_same_computation_is_one_run(found: list[Record], cell: tuple[float, float | None, int]):
    assert cells(found) == {"INTL": cell}


def test_of_the_same_computation_the_one_written_last_counts():
    again = [a_run(value, 0, True, written=f"2026-01-0{day}") for day, value in ((2, 50.0), (3, 51.0), (1, 52.0))]
    assert cells(again) == {"INTL": (51, None, 1)}


def test_networks_with_one_digest_and_other_preprocessing_are_told_apart():
    other = Card(architecture=NETWORK, preprocess=Preprocess(crop=96))
    found = [a_run(50, 0, name=CONTROL), a_run(60, 0, name=CONTROL, card=other)]
    names = list(cells(found))
    assert len(set(names)) == 2
    assert all(name.startswith(f"{CONTROL} [") for name in names)


def a_control(value: float, drawn_by: int, seed: int = 0, **changes: Any) -> Record:
    return a_record(CONTROL, value, drawn_by, **changes).model_copy(update={"seed": seed}).sealed()


def test_a_random_network_counts_once_however_often_it_is_measured():
    often = [a_control(10, 0), a_control(14, 0, seed=1)]
    assert cells(often) == {CONTROL: (12, None, 1)}
    assert cells([*often, a_control(16, 1, seed=1)]) == {CONTROL: (14, pytest.approx(8**0.5), 2)}


def test_arguments_that_older_records_lack_have_their_defaults():
    old = Architecture(family="resnet", arguments={"depth": 18, "stem": "imagenet"})
    card = Card(architecture=old, preprocess=Preprocess())
    assert cells([a_run(50, 0), a_run(50, 1, card=card)]) == {"INTL": (50, None, 1)}


SMALL = Card(architecture=NETWORK, preprocess=Preprocess(crop=96), origin=Origin(method=CONTROL, seed=0))
BEATEN = [a_record("A", 50.0), a_record("B", 60.0), a_record("C", 20.0), a_record(CONTROL, 60.01)]


def styles(found: list[Record], choice: Choice | None = None) -> dict[str, tuple[str, str]]:
    laid = grid(leaderboard(found, choice or Choice()))
    return {line.stub[0]: (line.entries[0].style, line.entries[0].marks) for line in laid.lines}


def test_a_best_number_that_its_own_control_beats_is_marked_and_not_bold():
    assert styles(BEATEN)["B"] == styles(BEATEN)["A"] == ("", "‡")
    assert styles(BEATEN)["C"] == ("", "")
    assert styles(BEATEN, Choice(merged=True))["B"] == ("", "‡")


@pytest.mark.parametrize(
    "control",
    [a_record(CONTROL, 60.001), a_record(CONTROL, 99.0, card=SMALL), a_record("supervised", 99.0, seed=0)],
    ids=["as good as printed", "of another network", "trained with labels"],
)
def test_what_is_not_beaten_by_its_own_control_is_bold(control: Record):
    found = [*BEATEN[:3], control]
    assert styles(found)["B"] == ("best", "")


def test_lower_is_better_where_the_score_says_so():
    low = [a_record(name, value, higher_is_better=False) for name, value in (("A", 5.0), ("B", 6.0), (CONTROL, 5.5))]
    assert (styles(low)["A"], styles(low)["B"]) == (("best", ""), ("", "‡"))


def test_every_format_shows_the_mark_and_says_why():
    board = leaderboard(BEATEN)
    laid = grid(board)
    console = Console(width=200, record=True, file=None)
    with console.capture() as shown:
        console.print(terminal(laid))
    texts = {
        "60.00‡": (markdown(laid), shown.get()),
        "<span>60.00</span><sup>‡</sup>": (html(laid),),
        r"60.00{\textsuperscript{\ddag{}}}": (latex(laid),),
    }
    for cell, all_of_it in texts.items():
        for text in all_of_it:
            assert cell in text
            assert "worse than its own control (random-init: the same architecture" in " ".join(text.split())
    assert "**" not in markdown(laid)
    assert r"\bfseries" not in latex(laid)
    assert latex(laid).isascii()
    assert "60.00‡" in markdown(Form(transpose=True).laid(board))


def test_numbers_stay_numbers():
    board = leaderboard(BEATEN)
    assert wide(board).set_index("name").loc["B", "digits k-NN mean"] == 60.0
    assert "‡" not in wide(board).to_csv()
    assert [row["cells"][0]["is_beaten"] for row in plain(board)["rows"]] == [False, False, True, True, True]
