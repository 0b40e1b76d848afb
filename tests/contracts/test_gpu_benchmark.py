"""`benchmarks/gpu.py` without a GPU: the command in its header, what it keeps of parts, and the page that it writes."""

import ast
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST = 2000
"""Characters of the command in the header."""


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import gpu  # pyright: ignore[reportMissingImports]

        yield gpu
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def ran(gpu: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is left of parts that finish, fail and take too long; the first had been finished before."""
    from gpu_parts import Part, Row  # pyright: ignore[reportMissingImports]

    def well(ask: Any) -> Iterator[Any]:
        yield Row("speed", 1234.5, "views/s", 3, "a|b")
        yield Row("no number", None, "s", 0, "why not")

    def bad(ask: Any) -> Iterator[Any]:
        yield from well(ask)
        raise ValueError("broken")

    def slow(ask: Any) -> Iterator[Any]:
        for epoch in (1, 2):
            yield Row("k-NN", 10.0 * epoch, "%", 3, f"epoch {epoch}", "k-NN")
        time.sleep(60)

    works = {"limits": bad, "losses": well, "step32": bad, "train": slow}
    ask = gpu.Ask(smoke=True, data=None, workers=0)
    machine, book = gpu.facts(ask), gpu.Book(tmp_path_factory.mktemp("gpu") / "gpu.json", True)
    book.put("limits", {"state": "finished", "why": "", "seconds": 1.0, "machine": machine, "rows": []})
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "PARTS", {name: Part(work, 480) for name, work in works.items()})
        patch.setattr(gpu, "facts", lambda ask: machine)
        patch.setattr(gpu, "limit", lambda name, smoke, seconds: 2.0 if name == "train" else 60.0)
        try:
            assert gpu.run(book, list(works), ask, 300.0) == 1
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return json.loads(book.path.read_text())


def test_the_command_in_the_header_is_short_enough_and_names_what_is_there(gpu: ModuleType) -> None:
    text = ast.get_docstring(ast.parse((ROOT / "benchmarks/gpu.py").read_text()))
    assert text
    command = text[text.index("    python3 -m pip") :]
    assert len(command) <= MOST
    options = {word for word in command.partition("gpu.py")[2].split() if word.startswith("--")}
    assert options == {"--data", "--out", "--resume", "--seconds", "--commit"}
    assert gpu.chosen("train,limits") == ["limits", "train"]
    for name in gpu.PARTS:
        assert name in text


def test_parts_that_fail_or_take_too_long_keep_what_they_found(ran: dict[str, Any]) -> None:
    parts = ran["parts"]
    assert {name: part["state"] for name, part in parts.items()} == {
        "limits": "finished",
        "losses": "finished",
        "step32": "failed",
        "train": "unfinished",
    }
    assert parts["limits"]["rows"] == []
    assert parts["step32"]["why"] == "ValueError: broken"
    assert [len(part["rows"]) for part in parts.values()] == [0, 2, 2, 2]
    assert parts["train"]["machine"]["packages"]["torch"]


def test_an_unfinished_part_does_not_give_way_to_one_that_found_less(gpu: ModuleType, tmp_path: Path) -> None:
    book = gpu.Book(tmp_path / "gpu.json", True)
    more, less = ({"state": "unfinished", "rows": [{}] * count} for count in (2, 1))
    book.put("train", more)
    book.put("train", less)
    assert book.parts["train"] is more
    book.put("train", less | {"state": "finished"})
    assert book.is_finished("train")


def test_the_page_shows_all_that_was_found_and_what_was_not(
    gpu: ModuleType, ran: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "gpu.json").write_text(json.dumps(ran))
    assert gpu.main(["--table", str(tmp_path / "gpu.json")]) == 0
    page = (tmp_path / "README.md").read_text()
    assert "smoke run" in page
    assert "| losses | speed | 1,234 | views/s | 3 | a\\|b |" in page
    assert "| losses | no number |  | s | 0 | why not |" in page
    assert "| step32 | failed |  |  |  | ValueError: broken |" in page
    assert "| train | k-NN | 20 | % | 3 | epoch 2 |" in page
    assert "epoch 1" not in page
    assert f"torch {ran['parts']['losses']['machine']['packages']['torch']}" in page


def test_the_kept_page_is_what_the_script_writes(gpu: ModuleType, tmp_path: Path) -> None:
    kept = ROOT / "results/gpu"
    measured = kept / "gpu.json"
    if measured.exists():
        (tmp_path / "gpu.json").write_text(measured.read_text())
    gpu.show(tmp_path / "gpu.json")
    assert (tmp_path / "README.md").read_text() == (kept / "README.md").read_text()
    if not measured.exists():
        assert (kept / "README.md").read_text().count("not run yet") == len(gpu.PARTS) + 1
