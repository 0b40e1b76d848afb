"""Records and archives of strangers: limits are kept, and what is wrong with one of them is the trouble of that one."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from recorded import a_record

from transferbench import records, settings
from transferbench.errors import UserError
from transferbench.records import Artifact, Record, archive, arrays

Run = Callable[..., tuple[int, str, str]]


def resealed(path: Path, record: Record, **changes: Any) -> Path:
    """A record as a stranger would write it: changed, with the checksum that goes with it."""
    values = record.model_dump(mode="json") | changes
    values.pop(records.CHECKSUM)
    values[records.CHECKSUM] = settings.sha256(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "C:a", "a\\b", "", "a\x1bb"], ids=repr)
def test_artifacts_lie_inside_the_output_folder(path: str) -> None:
    with pytest.raises(ValueError, match="would lie outside the output folder"):
        Artifact(path=path, sha256="0")


ODD: dict[str, dict[str, Any]] = {
    "artifact": {"artifacts": {"predictions": {"path": "../../secret.npz", "sha256": "0"}}},
    "later": {"schema_version": 2},
    "later with more": {"schema_version": 3, "seeds": [1]},
    "half a character": {"config": {"note": "\ud800"}},
}


def test_bad_records_are_named_left_out_and_fail_the_gate_alone(evaluate: Run) -> None:
    for folder in ("results", "base"):
        records.write(Path(folder, "records"), a_record("good"))
    Path("results/package.json").write_text('{"name": "foreign"}')
    code, _, err = evaluate("gate", "results", "--against", "base")
    assert (code, "package.json" in err) == (0, True), "foreign JSON is no damaged record"
    for i, changes in enumerate(ODD.values()):
        resealed(Path(f"results/records/bad{i}.json"), a_record("bad"), **changes)
    for command in ("table results", "report results --out r.html", "pack a.zip results"):
        code, _, err = evaluate(*command.split())
        assert code == 0, command
        assert err.count("is not a record") == 1 + len(ODD)
    code, out, _ = evaluate("gate", "results", "--against", "base", "--junit", "j.xml")
    assert code == 1
    assert f"{len(ODD)} damaged record(s), which fail the gate" in out
    assert ElementTree.parse("j.xml").getroot().attrib["failures"] == str(len(ODD))


def test_a_later_schema_says_so(tmp_path: Path) -> None:
    with pytest.raises(records.DamagedRecordError, match="it has schema 2, of a later version of transferbench"):
        records.read(resealed(tmp_path / "a.json", a_record(), schema_version=2))


STRANGE = {
    "arguments": {"architecture": {"family": "resnet", "arguments": {}}},
    "width": {"architecture": {"family": "resnet", "arguments": {"depth": 10, "width": 1e30}}},
    "module": {"architecture": {"family": "module", "arguments": {}}},
    "family": {"architecture": {"family": "[/x]", "arguments": {"a": [{}]}}},
}


def test_what_sound_records_say_that_we_never_write_stops_nothing(evaluate: Run) -> None:
    records.write(Path("results/records"), a_record("good"))
    for name in (*STRANGE, "environment"):
        record = a_record(name)
        card = record.model_dump(mode="json")["card"]
        odd = (
            {"environment": {"machine": [1], "packages": 1}}
            if name == "environment"
            else {"card": card | STRANGE[name]}
        )
        resealed(Path(f"results/records/{name}.json"), record, **odd)
    for command in ("table results", "pack a.zip results", "gate results --against a.zip"):
        code, out, err = evaluate(*command.split())
        assert (code, err) == (0, ""), command
        assert "pack" in command or all(name in out for name in (*STRANGE, "environment", "good"))


def test_a_pipe_among_records_is_no_record(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    ((_, found),) = records.read_all(tmp_path)
    assert "no regular file" in str(found)


def made(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    hashes = {name: archive.sha256(content) for name, content in entries.items()}
    manifest = json.dumps({"format": archive.FORMAT, "files": hashes}).encode()
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in {archive.MANIFEST: manifest, **entries}.items():
            file.writestr(name, content)
    return path


def test_stated_sizes_are_held_against_the_archive_and_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "a.zip", {"a": bytes(100_000)})
    with archive.unpacked(path) as folder:
        assert (folder / "a").stat().st_size == 100_000
    monkeypatch.setattr(archive, "LARGEST", 1000)
    with pytest.raises(UserError, match=r"it states 100,1\d\d bytes, and more than"), archive.unpacked(path):
        pass


@pytest.mark.parametrize(
    ("entries", "kind", "told"),
    [
        ({"a": b"1", "a/b": b"2"}, zipfile.ZIP_DEFLATED, "cannot be unpacked"),
        ({"n" * 300: b"1"}, zipfile.ZIP_DEFLATED, "cannot be unpacked"),
        ({"a\nb": b"1"}, zipfile.ZIP_DEFLATED, "has no proper name"),
        ({"a": b"1" * 100}, zipfile.ZIP_BZIP2, "compressed in another way"),
    ],
)
def test_entries_that_no_pack_makes_are_refused(entries: dict[str, bytes], kind: int, told: str, tmp_path: Path):
    with pytest.raises(UserError, match=told), archive.unpacked(made(tmp_path / "a.zip", entries, kind)):
        pass


def packed(**found: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **found)
    return buffer.getvalue()


def test_arrays_are_numbers_of_a_size_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(labels=np.zeros(1000, np.int64), predictions=np.zeros(1000, np.int64))
    assert arrays.classes(arrays.arrays(content))[0].shape == (1000,)
    for bad in (b"", b"PK", content[:-30], packed(a=np.array([{}], object))):
        with pytest.raises(ValueError, match=r"."):
            arrays.arrays(bad)
    monkeypatch.setattr(arrays, "LARGEST", 1000)
    with pytest.raises(ValueError, match="and more than 1,000 are not read"):
        arrays.arrays(content)


@pytest.mark.parametrize(
    "found",
    [
        {"labels": np.zeros(3, int)},
        {"labels": np.zeros(3, int), "predictions": np.zeros(4, int)},
        {"labels": np.zeros((2, 2), int), "predictions": np.zeros((2, 2), int)},
        {"labels": np.zeros(3), "predictions": np.zeros(3, int)},
    ],
)
def test_what_is_not_one_class_per_image_is_told(found: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="one class per image"):
        arrays.classes(found)
