"""Archives of results are whole or refused; records of several machines come together without conflict."""

import json
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest

from transferbench import records
from transferbench.errors import UserError
from transferbench.records import archive, collection

here = Path(__file__)
a_record = runpy.run_path(str(here.parent / "records/test_records.py"))["a_record"]
judged = runpy.run_path(str(here.parent / "comparison/test_compare.py"))["judged"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def packed(evaluate: Run, tmp_path: Path) -> Path:
    """An archive of two candidates with their predictions, and of one whose predictions are gone."""
    judged(tmp_path / "results", "one", [1, 2])
    judged(tmp_path / "results", "two", [3])
    assert evaluate("pack", "a.zip")[0] == 0
    return tmp_path / "a.zip"


def again(path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    """The archive with other entries, its manifest as it was."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path.with_name("changed.zip"), "w") as new:
        for name, content in change(entries).items():
            new.writestr(name, content)
    return path.with_name("changed.zip")


def test_an_archive_has_everything_and_its_manifest_says_so(packed: Path):
    with zipfile.ZipFile(packed) as found:
        names = found.namelist()
        manifest = json.loads(found.read(archive.MANIFEST))["files"]
        environment = json.loads(found.read("environment.json"))
        assert {name: archive.sha256(found.read(name)) for name in names[1:]} == manifest
        assert {entry.date_time for entry in found.infolist()} == {archive.EPOCH}
    assert names[0] == archive.MANIFEST
    assert names[1:] == sorted(names[1:])
    kinds = [name.partition("/")[0] for name in names]
    assert (kinds.count("records"), kinds.count("artifacts")) == (2, 2)
    assert "tables/leaderboard.csv" in names
    assert environment["records_made_by"][0]["records"] == 2
    assert environment["packed_by"]["packages"]["torch"]


def test_the_same_content_is_the_same_bytes_wherever_it_lies(evaluate: Run, packed: Path, tmp_path: Path):
    (tmp_path / "results").rename(tmp_path / "moved")
    for place in (["moved"], [packed], [packed, "moved"]):
        assert evaluate("pack", "b.zip", *place)[0] == 0
        assert (tmp_path / "b.zip").read_bytes() == packed.read_bytes()
    assert evaluate("pack", "b.zip", "moved", "--artifacts", "none")[0] == 0
    assert (tmp_path / "b.zip").read_bytes() != packed.read_bytes()


def test_tables_and_comparisons_are_made_from_an_archive_alone(evaluate: Run, packed: Path, tmp_path: Path):
    shown = evaluate("table", "results")[1].partition("wrote")[0].strip()
    code, out, err = evaluate("table", packed, "--out", "tables")
    assert (code, err) == (0, "")
    assert out.partition("wrote")[0].strip() == shown
    assert (tmp_path / "tables" / "leaderboard.csv").read_bytes() == (
        tmp_path / "results" / "leaderboard.csv"
    ).read_bytes()
    assert "Nothing was written" in evaluate("table", packed)[1]
    assert "McNemar" in evaluate("compare", "one", "two", "--in", packed)[1]
    assert evaluate("gate", packed, "--against", "results")[0] == 0


def test_a_file_that_is_gone_or_changed_is_told_and_not_packed(evaluate: Run, packed: Path, tmp_path: Path):
    first, second = sorted((tmp_path / "results").rglob("*.npz"))
    first.unlink()
    second.write_bytes(b"changed")
    code, _, err = evaluate("pack", "b.zip")
    assert code == 0
    assert str(first.relative_to(tmp_path)) in err
    assert str(second.relative_to(tmp_path)) in err
    with zipfile.ZipFile("b.zip") as found:
        assert not [name for name in found.namelist() if name.startswith("artifacts")]


def edited(entries: dict[str, bytes]) -> dict[str, bytes]:
    name = next(name for name in entries if name.startswith("records/two"))
    return entries | {name: entries[name].replace(b"99.0", b"99.9")}


def without(start: str) -> Any:
    return lambda entries: {name: content for name, content in entries.items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (edited, "'records/two.digits"),
        (without("records/two"), "lacks 'records/two"),
        (lambda entries: entries | {"records/new.json": b"{}"}, "does not list in its manifest 'records/new.json'"),
        (without("manifest"), "holds no manifest.json"),
        (lambda entries: entries | {"manifest.json": b"[1]"}, "holds no manifest.json"),
        (lambda entries: entries | {"../out.json": b"{}"}, "'../out.json' would leave the folder"),
        (lambda entries: entries | {"/out.json": b"{}"}, "'/out.json' would leave the folder"),
        (lambda entries: entries | {"records\\..\\out.json": b"{}"}, "would leave the folder"),
        (lambda entries: entries | {"C:out.json": b"{}"}, "would leave the folder"),
        (lambda entries: entries | {"records/": b""}, "'records/' is a folder"),
    ],
)
def test_an_archive_that_was_changed_is_refused_by_name(evaluate: Run, packed: Path, change: Any, reason: str):
    code, out, err = evaluate("table", again(packed, change))
    assert (code, out) == (2, "")
    assert reason in err
    assert "changed.zip" in err
    assert not packed.with_name("out.json").exists()
    assert not packed.parent.with_name("out.json").exists()


def test_a_path_that_leaves_the_folder_is_refused_though_the_manifest_names_it(tmp_path: Path):
    archive.write(tmp_path / "a.zip", {"../escaped": b"x"})
    with pytest.raises(UserError, match=r"'\.\./escaped' would leave the folder"), archive.unpacked(tmp_path / "a.zip"):
        pass


def test_a_link_and_an_archive_cut_short_are_refused(evaluate: Run, packed: Path):
    entry = zipfile.ZipInfo("records/link.json")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(packed.with_name("link.zip"), "w") as made:
        made.writestr(entry, "/etc/passwd")
    assert "is a link" in evaluate("table", "link.zip")[2]
    packed.with_name("cut.zip").write_bytes(packed.read_bytes()[:-200])
    code, _, err = evaluate("table", "cut.zip")
    assert code == 2
    assert "cut.zip is not a whole archive" in err


def test_pack_says_what_it_needs(evaluate: Run, packed: Path):
    (packed.parent / "empty").mkdir()
    wrong = {
        ("a.tar", "results"): "ends in .zip",
        ("b.zip", "empty"): "no records in empty",
        ("b.zip", "nowhere"): "nowhere does not exist",
        ("b.zip", "results", "--artifacts", "predictionz"): "Did you mean 'predictions'",
    }
    for arguments, reason in wrong.items():
        code, _, err = evaluate("pack", *arguments)
        assert code == 2
        assert reason in err
    assert not (packed.parent / "b.zip").exists()


def merged(tmp_path: Path, *machines: Any) -> collection.Collection:
    for i, record in enumerate(machines):
        records.write(tmp_path / f"machine{i}" / "records", record)
    with collection.opened([tmp_path / f"machine{i}" for i in range(len(machines))]) as found:
        return found


def scores(value: float) -> Any:
    return (a_record().scores[0].model_copy(update={"value": value}),)


def test_one_experiment_of_two_machines_counts_once_the_later_result_told(tmp_path: Path):
    late = a_record(scores=scores(51.0), written="2026-02-01T00:00:00+00:00")
    found = merged(tmp_path, late, a_record(), a_record(seed=1))
    assert sorted(record.scores[0].value for record in found.records) == [50.0, 51.0]
    assert len(found.notes) == 1
    assert "50, 51" in found.notes[0]
    assert merged(tmp_path / "same", a_record(), a_record(seconds=9.0)).notes == ()


def test_a_finished_result_counts_before_a_failed_one_and_that_before_a_skipped_one(tmp_path: Path):
    late = "2027-01-01T00:00:00+00:00"
    found = merged(tmp_path, a_record(), a_record(status="failed", error="x", written=late, scores=()))
    assert [record.status for record in found.records] == ["ok"]
    absent = a_record(status="skipped", data_fingerprint={}, scores=(), written=late)
    found = merged(tmp_path / "b", a_record(), absent, a_record(status="skipped", data_fingerprint={}, seed=1))
    assert sorted((record.status, record.seed) for record in found.records) == [("ok", 0), ("skipped", 1)]


def test_two_names_or_cards_of_one_network_are_both_kept(tmp_path: Path):
    card = a_record().card
    other = card.model_copy(update={"preprocess": card.preprocess.model_copy(update={"crop": 96})})
    assert len(merged(tmp_path, a_record(), a_record(candidate="theirs"), a_record(card=other)).records) == 3


def test_foreign_cut_and_edited_files_are_named_and_the_rest_is_tabulated(evaluate: Run, tmp_path: Path):
    judged(tmp_path / "results", "one", [1])
    bad = [records.write(tmp_path / "results" / "records", a_record(seed=seed)) for seed in (1, 2)]
    bad[0].write_text(bad[0].read_text()[:300])
    bad[1].write_text(bad[1].read_text().replace("50.0", "90.0"))
    (tmp_path / "results" / "package.json").write_text('{"name": "foreign"}')
    code, out, err = evaluate("table", "results")
    assert code == 0
    assert "| one |" in out
    assert "3 edited or unreadable" in out
    for name, reason in (
        (bad[0].name, "is not a record"),
        (bad[1].name, "was changed after"),
        ("package.json", "is not"),
    ):
        assert any(name in line and reason in line for line in err.splitlines())


def write_eighty(folder: Path, name: str) -> None:
    for seed in range(40):
        for candidate in (name, "both"):
            records.write(folder, a_record(seed=seed, candidate=candidate))


@pytest.mark.slow
def test_two_programs_write_to_one_folder_while_a_third_reads_and_nothing_is_lost(evaluate: Run, tmp_path: Path):
    folder = tmp_path / "results" / "records"
    writers = [forked.Fork(lambda name=name: write_eighty(folder, name)) for name in ("one", "two")]
    seen = []
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "results").is_dir():
            seen.append([each for _, each in records.read_all(tmp_path / "results")])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert all(isinstance(each, records.Record) for found in seen for each in found), "never a part of a record"
    with collection.opened([tmp_path / "results"]) as found:
        assert len(found.records) == 120
        assert found.unreadable == ()
