"""Names come from files of strangers: in what is written they are text, whatever they begin with or hold."""

import io
import re

import pandas as pd
import pytest
from recorded import a_record
from rich.console import Console

from transferbench.errors import printable
from transferbench.tables import grid, latex, leaderboard, markdown, terminal, wide
from transferbench.tables.cells import cell, csv

NAMES = [
    "=1+1",
    "+1+x",
    "-x",
    "@SUM",
    "\tx",
    "[1pt]",
    "*",
    "a|b",
    "a\\|b",
    "<b>x</b>",
    "a\nb",
    "[a](b)",
    "[/x]",
    "\x1b[2J",
]


def board(name: str):
    return leaderboard([a_record(name, 50.0), a_record("other", 40.0), a_record(name, 3.0, dataset=name, label=name)])


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_no_cell_of_a_csv_begins_a_formula(name: str) -> None:
    text = csv(wide(board(name)))
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    cells = [*table.columns, *(str(each) for column in table for each in table[column])]
    assert not [each for each in cells if each.startswith(("=", "+", "@", "\t", "\r"))]
    assert any(name in each for each in cells)


def test_numbers_stay_numbers() -> None:
    assert [cell(each) for each in (-1.5, None, "-1.5", "-inf", "-1.5x", "=", "a=b")] == [
        *(-1.5, None, "-1.5", "-inf", "'-1.5x", "'=", "a=b")
    ]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_no_row_of_latex_is_an_option_of_the_one_before(name: str) -> None:
    text = latex(grid(board(name)))
    body = text.partition(r"\toprule")[2].partition(r"\end{tabular}")[0]
    assert not re.search(r"(?:\\\\|rule|\d\})\s*\n\s*[\[*]", body)
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {3}


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_markdown_keeps_its_cells_and_holds_no_html(name: str) -> None:
    text = markdown(grid(board(name)))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5
    unescaped = [re.sub(r"\\.", "", line) for line in lines]
    assert {line.count("|") for line in unescaped} == {5}
    assert not re.search(r"<(?!/?u>)[\w/!?]|\]\(", "".join(unescaped))
    assert "\x1b" not in text


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_terminal_is_not_steered_and_no_markup_is_read(name: str) -> None:
    console = Console(width=200, color_system=None)
    with console.capture() as shown:
        console.print(terminal(grid(board(name))))
    assert printable(" ".join(name.split())) in shown.get()
    assert "\x1b" not in shown.get()


def test_what_steers_is_shown_as_its_number() -> None:
    assert printable("a\x1b[2J\x07\u202eb\x9b\r\n\tc") == "a\\x1b[2J\\x07\\u202eb\\x9b\\r\n\tc"
    assert printable("Größe ±½ 日本") == "Größe ±½ 日本"
