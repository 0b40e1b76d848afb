"""A record is whole, says everything its number depends on, and notices when it was changed."""

import gc
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from transferbench import records
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card, LoadReport, Origin
from transferbench.data.transforms import Preprocess
from transferbench.records import Record, Score
from transferbench.settings import Settings

ARCHITECTURE = Architecture(family="resnet", arguments={"depth": 18})


def a_record(**changes: Any) -> Record:
    values = {
        "status": "ok",
        "task": "knn",
        "label": "k-NN",
        "version": "1",
        "primary": "top1",
        "dataset": "digits",
        "dataset_revision": "1",
        "data_fingerprint": {"train": "a", "test": "b"},
        "chance": 10.0,
        "candidate": "ours",
        "digest": "d" * 64,
        "file_sha256": None,
        "card": Card(architecture=ARCHITECTURE, preprocess=Preprocess()),
        "load_report": LoadReport(format="test", matched=1, parameters=1),
        "config": {"k": 5},
        "protocol_sha256": "p" * 64,
        "seed": 0,
        "limit": None,
        "scores": (Score(metric="top1", value=50.0, n=10, interval=(40.0, 60.0)),),
        "seconds": 1.0,
        "peak_memory_mb": 1.0,
        "written": "2026-01-01T00:00:00+00:00",
        "environment": {},
    }
    return Record(**(values | changes))


OTHER = {
    "digest": "e" * 64,
    "card": Card(architecture=ARCHITECTURE, preprocess=Preprocess(crop=96)),
    "task": "linear",
    "data_fingerprint": {"train": "a", "test": "c"},
    "protocol_sha256": "q" * 64,
    "seed": 1,
    "limit": 100,
}


@pytest.mark.parametrize("part", OTHER)
def test_every_part_of_the_identity_makes_another_experiment(part: str):
    assert a_record(**{part: OTHER[part]}).identity != a_record().identity


def test_another_architecture_is_another_experiment():
    wide = Architecture(family="resnet", arguments={"depth": 18, "width": 2.0})
    card = Card(architecture=wide, preprocess=Preprocess())
    assert a_record(card=card).identity != a_record().identity


@pytest.mark.parametrize(
    "change",
    [
        {"candidate": "renamed"},
        {"seconds": 9.0},
        {"file_sha256": "f" * 64},
        {"card": Card(architecture=ARCHITECTURE, preprocess=Preprocess(), origin=Origin(method="intl"))},
    ],
    ids=str,
)
def test_what_cannot_change_the_number_is_no_part_of_the_identity(change: dict[str, Any]):
    assert a_record(**change).identity == a_record().identity


class Config(Settings):
    k: int = 5


@pytest.mark.parametrize("other", [("knn", "2", Config()), ("knn2", "1", Config()), ("knn", "1", Config(k=6))], ids=str)
def test_a_protocol_is_task_version_and_settings(other: tuple[str, str, Config]):
    assert records.protocol_sha256(*other) != records.protocol_sha256("knn", "1", Config())


def test_a_record_comes_back_as_it_was_written(tmp_path: Path):
    written = records.write(tmp_path, a_record())
    assert records.read(written) == a_record().sealed()


def test_the_same_experiment_overwrites_itself_and_no_other(tmp_path: Path):
    for record in (a_record(status="failed"), a_record(seed=1), a_record(candidate="a/b"), a_record()):
        records.write(tmp_path, record)
    found = dict(records.read_all(tmp_path))
    assert len(found) == 3
    assert {record.status for record in found.values() if isinstance(record, Record)} == {"ok"}
    assert all(path.parent == tmp_path for path in found)


@pytest.mark.parametrize("field", ["scores", "seed", "candidate", "record_sha256"])
def test_a_record_edited_by_hand_is_noticed(tmp_path: Path, field: str):
    path = records.write(tmp_path, a_record())
    values = json.loads(path.read_text())
    changed = {
        "scores": [values["scores"][0] | {"value": 99.0}],
        "seed": 7,
        "candidate": "x",
        "record_sha256": "0" * 64,
    }
    path.write_text(json.dumps(values | {field: changed[field]}))
    with pytest.raises(ValueError, match="changed after it was written"):
        records.read(path)


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "", lambda text: "[1]"])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, damage: Any):
    records.write(tmp_path, a_record())
    bad = records.write(tmp_path, a_record(seed=1))
    bad.write_text(damage(bad.read_text()))
    found = dict(records.read_all(tmp_path))
    assert [path for path, each in found.items() if isinstance(each, ValueError) and str(bad) in str(each)] == [bad]
    assert sum(isinstance(each, Record) for each in found.values()) == 1


def test_artifacts_and_unfinished_work_are_not_taken_for_records(tmp_path: Path):
    folder = tmp_path / "artifacts" / "out"
    records.write(folder / "records", a_record())
    for name in ("artifacts", "unfinished"):
        (folder / name).mkdir()
        (folder / name / "curve.json").write_text("{}")
    assert [path.parent.name for path, _ in records.read_all(folder)] == ["records"]


def write_fifty(folder: Path, name: str) -> None:
    for seed in range(25):
        records.write(folder, a_record(seed=seed, candidate=name))
        records.write(folder, a_record(seed=seed, candidate="both"))


def test_two_processes_write_to_one_folder_and_nothing_is_lost(tmp_path: Path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_fifty, args=(tmp_path, name)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = [each for _, each in records.read_all(tmp_path)]
    assert all(isinstance(each, Record) for each in found)
    assert sorted((each.candidate, each.seed) for each in found if isinstance(each, Record)) == sorted(
        (name, seed) for name in ("both", "one", "two") for seed in range(25)
    )
    assert [path for path in tmp_path.iterdir() if path.suffix != ".json"] == []


def test_a_record_that_another_process_takes_away_meanwhile_is_not_missed(tmp_path: Path, monkeypatch):
    gone, kept = records.write(tmp_path, a_record()), records.write(tmp_path, a_record(seed=1))
    both = [gone, kept]
    gone.unlink()
    monkeypatch.setattr(Path, "rglob", lambda folder, pattern: both)
    assert [path for path, _ in records.read_all(tmp_path)] == [kept]


@pytest.mark.parametrize(
    "text", ['{"config": NaN}', "[" * 100_000, '"a"', "\xff"], ids=["nan", "deep", "word", "bytes"]
)
def test_what_is_no_record_is_told_and_never_raised(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    (tmp_path / "folder.json").mkdir()
    found = dict(records.read_all(tmp_path))
    assert len(found) == 2
    assert all("is not a record" in str(error) for error in found.values())


def test_a_number_that_json_lacks_is_no_intact_record(tmp_path: Path):
    path = records.write(tmp_path, a_record(config={"k": 5}))
    path.write_text(path.read_text().replace('"k": 5', '"k": NaN'))
    with pytest.raises(ValueError, match="is not a record"):
        records.read(path)


def test_collection_of_garbage_goes_on_after_reading(tmp_path: Path):
    gc.enable()
    list(records.read_all(tmp_path))
    assert gc.isenabled()


def test_only_a_traceback_is_a_bug():
    assert a_record(status="failed", error="Traceback (most recent call last):\n  ...").is_bug
    assert not a_record(status="failed", error="Cannot decode image 'x'.").is_bug
    assert not a_record().is_bug


def test_a_score_without_bootstrap_is_written_as_before_there_was_one():
    plain = Score(metric="top1", value=50.0, n=10)
    assert "bootstrap" not in plain.model_dump(mode="json")
    assert a_record(scores=(plain,)).sealed().is_intact()
    both = plain.model_copy(update={"bootstrap": (40.0, 60.0)})
    assert Score.model_validate_json(both.model_dump_json()) == both
