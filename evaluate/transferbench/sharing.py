"""Records, tables and what they were made with, as one file that another person can make tables from."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from transferbench import records, runtime, settings, tables
from transferbench.errors import UserError, unknown
from transferbench.records import Record, archive, collection
from transferbench.records.collection import StoredRecord

Kept = Literal["all", "predictions", "none"]
TABLES, ENVIRONMENT = "tables", "environment.json"


def pack(out: Path, folders: Sequence[Path], artifacts: str) -> list[str]:
    """Write an archive of all records in some folders; the same content gives the same bytes.

    Args:
        out: the archive, `.zip`.
        folders: folders of records, or archives.
        artifacts: which of the records' files go with them: `all`, `predictions` (what results are compared by, small)
            or `none`.

    Returns:
        What was left out, and why.

    Raises:
        UserError: when there are no records, or `out` or `artifacts` is not of the kind expected.
    """
    if artifacts not in get_args(Kept):
        raise unknown("choice of artifacts", artifacts, get_args(Kept))
    if out.suffix.lower() != collection.ARCHIVE:
        raise UserError(f"An archive's name ends in {collection.ARCHIVE}; found '{out}'.")
    with collection.opened(folders) as there:
        if not there.stored:
            raise UserError(f"There are no records in {', '.join(map(str, folders))}.")
        notes = [*there.unreadable, *there.notes]
        files = {
            f"{records.RECORDS}/{_name(record)}": _text(record.model_dump(mode="json")) for record in there.records
        }
        files |= _artifacts(there.stored, artifacts, notes) | _tables(there.records, len(there.unreadable))
        files[ENVIRONMENT] = _text({"packed_by": _packer(), "records_made_by": _makers(there.records)})
    archive.write(out, files)
    return notes


def _name(record: Record) -> str:
    return records.path_of(Path(), record).name


def _text(value: object) -> bytes:
    """As records are written."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _artifacts(stored: Iterable[StoredRecord], wanted: str, notes: list[str]) -> dict[str, bytes]:
    """The records' files by their paths; a note for each that is not there or not what the record kept."""
    files: dict[str, bytes] = {}
    for each in stored:
        for name, artifact in sorted(each.record.artifacts.items()):
            if wanted == "none" or (wanted == "predictions" and name != wanted):
                continue
            content = each.out.joinpath(artifact.path)
            data = content.read_bytes() if content.is_file() else b""
            if archive.sha256(data) != artifact.sha256:
                notes.append(
                    f"{content} is missing or has changed since the record of {each.record.candidate} was written."
                )
            else:
                files[artifact.path] = data
    return files


def _tables(records: Sequence[Record], unreadable: int) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="transferbench-") as name:
        written = tables.write(Path(name), records, tables.leaderboard(records, unreadable=unreadable))
        return {f"{TABLES}/{path.relative_to(name).as_posix()}": path.read_bytes() for path in written}


def _packer() -> dict[str, object]:
    """Versions and commit of what packs; not its command, which differs from call to call."""
    here = runtime.environment()
    return {name: here[name] for name in ("python", "packages", "commit", "dirty")}


def _makers(records: Iterable[Record]) -> list[dict[str, object]]:
    """The environments the records were made in, without their commands, and how many records each made."""
    counts = Counter(
        settings.canonical_json({name: value for name, value in record.environment.items() if name != "command"})
        for record in records
    )
    return [{"records": count, **json.loads(text)} for text, count in sorted(counts.items())]
