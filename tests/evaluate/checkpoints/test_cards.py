"""The cards of files laid out as their sources lay them out, without any weights: none changes unseen.

`cards.json` was written by `python tests/evaluate/checkpoints/test_cards.py`. The networks that it describes give their
sources' features (test_checkpoints_cases.py, all of them in `make test-all`); write it anew only after that run.
"""

import json
from pathlib import Path
from typing import Any

import foreign
import pytest

KEPT = Path(__file__).parents[1] / "cards.json"
CASES = foreign.skeletons()
LOADED = [name for name, case in CASES.items() if case["encoders"]]


def said(match: Any) -> dict[str, Any]:
    """What is said of a network besides its weights."""
    report = match.report
    return {
        "format": report.format,
        "encoder": report.encoder,
        "card": match.card.model_dump(mode="json", exclude_none=True),
        "assumed": report.assumed,
        "dropped": {reason: len(names) for reason, names in report.dropped.items()},
    }


def cards() -> dict[str, dict[str, Any]]:
    return {name: said(foreign.read(CASES[name], foreign.unfilled(CASES[name]))) for name in LOADED}


@pytest.fixture(autouse=True)
def valueless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank tensors have no values to look at."""
    monkeypatch.setattr("transferbench.checkpoints.recognition.digest", lambda weights: "of blank tensors")
    monkeypatch.setattr("transferbench.checkpoints.values._problem", lambda name, tensor: "")
    monkeypatch.setattr("transferbench.checkpoints.choice.compute_alike", lambda ours, theirs: True)


@pytest.mark.parametrize("name", LOADED)
def test_a_layout_gives_its_own_tensors_and_the_card_whose_features_were_compared(name: str) -> None:
    case = CASES[name]
    tree = foreign.unfilled(case)
    match = foreign.read(case, tree)
    assert foreign.taken(match, tree, case["encoders"][case["default"]])
    assert said(match) == json.loads(KEPT.read_text())[name]


def test_every_layout_has_a_card() -> None:
    assert list(json.loads(KEPT.read_text())) == LOADED


if __name__ == "__main__":
    valueless.__wrapped__(pytest.MonkeyPatch())  # pyright: ignore
    lines = [f"{json.dumps(name)}: {json.dumps(card)}" for name, card in cards().items()]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
