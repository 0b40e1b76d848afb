"""Records as JSON files, one each: where they lie, and how they are written and read."""

import json
from collections.abc import Iterator
from pathlib import Path

import pydantic

from transferbench import locks, settings, state, stopping
from transferbench.garbage import uncollected
from transferbench.records.record import CHECKSUM, SCHEMA, Record

RECORDS = "records"
ARTIFACTS = "artifacts"
UNFINISHED = "unfinished"
"""The folders inside an output folder."""
LEADERBOARD = "leaderboard.json"
"""The one JSON file there that is made from records."""
OURS = b'"schema_version"'
"""What every record begins with, so that a part of one is known."""


class DamagedRecordError(ValueError):
    """A file that is a record of ours, or was, and is not as it was written."""


def path_of(folder: Path, record: Record) -> Path:
    """Where in `folder` a record lies; the same for the same experiment under the same name."""
    name = f"{record.candidate}.{record.dataset}.{record.task}.{record.identity[:16]}.json"
    return folder / "".join(c if c.isalnum() or c in "._-" else "_" for c in name)


def write(folder: Path, record: Record) -> Path:
    """Write a record, sealed, atomically; the same experiment overwrites itself and nothing else.

    A finished one stays where the new one is not, whichever process wrote it.
    """
    path = path_of(folder, record)
    with locks.alone(path.with_name(f".{path.name}.lock")):
        if record.status == "ok" or not _is_finished(path):
            state.write_json(path, record.sealed().model_dump(mode="json"))
    return path


def _is_finished(path: Path) -> bool:
    """Whether the file holds a whole record of a task that came to its end."""
    try:
        return read(path).status == "ok"
    except (OSError, ValueError):
        return False


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        DamagedRecordError: when the file is one of ours and was edited, cut short, or is of a later version.
        ValueError: when the file holds none.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("no regular file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not a record: {error}") from None
    try:
        record, checksum = _parsed(content)
    except (ValueError, RecursionError) as error:
        kind = DamagedRecordError if path.parent.name == RECORDS or OURS in content else ValueError
        raise kind(f"{path} is not a record: {_fault(error)}") from None
    if checksum != record.record_sha256:
        raise DamagedRecordError(f"{path} was changed after it was written (its checksum does not match)")
    return record


def _parsed(content: bytes) -> tuple[Record, str]:
    """A record that can be shown, and the checksum of what was read."""
    values = json.loads(content)
    version = values.get("schema_version", SCHEMA) if isinstance(values, dict) else SCHEMA
    if isinstance(version, int) and version > SCHEMA:
        raise ValueError(f"it has schema {version}, of a later version of transferbench; this one knows {SCHEMA}")
    record = Record.model_validate(values)
    if b"\\ud" in content.lower():
        json.dumps(values, ensure_ascii=False).encode()  # half of a character cannot be written
    return record, settings.sha256({name: value for name, value in values.items() if name != CHECKSUM})


def _fault(error: Exception) -> str:
    """The first line, and which field and why of what does not validate."""
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
    return str(error).splitlines()[0]


def read_all(folder: Path) -> Iterator[tuple[Path, Record | ValueError]]:
    """Every JSON file below `folder`, as a record or as the reason why it is none, in name order.

    Left out are the leaderboard, what lies in a folder of artifacts or of unfinished work, and what another process
    takes away meanwhile.
    """
    with uncollected():
        return iter([each for path in sorted(folder.rglob("*.json")) for each in _read_below(folder, path)])


def _read_below(folder: Path, path: Path) -> list[tuple[Path, Record | ValueError]]:
    if path.name == LEADERBOARD or {ARTIFACTS, UNFINISHED} & set(path.relative_to(folder).parts):
        return []
    stopping.check()
    try:
        return [(path, read(path))]
    except FileNotFoundError:
        return []
    except ValueError as error:
        return [(path, error)]
