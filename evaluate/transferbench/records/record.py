"""One result as one JSON file that says everything the number depends on."""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pydantic
from pydantic import Field

from transferbench import errors, locks, settings, state, stopping
from transferbench.checkpoints import Card, LoadReport
from transferbench.settings import Settings

RECORDS = "records"
ARTIFACTS = "artifacts"
UNFINISHED = "unfinished"
"""The folders inside an output folder."""
LEADERBOARD = "leaderboard.json"
"""The one JSON file there that is made from records."""
SCHEMA = 1
OURS = b'"schema_version"'
"""What every record begins with, so that a part of one is known."""
CHECKSUM = "record_sha256"
"""The field that holds the sha256 of all others."""


class DamagedRecordError(ValueError):
    """A file that is a record of ours, or was, and is not as it was written."""


class Score(Settings):
    """One number.

    `interval` is the 95 % interval over test samples, in the same unit, where it is known: Wilson's for an accuracy;
    `bootstrap` is the one that resampling the test samples gives. `seeded` says whether the task's seed can change the
    number; None where the task does not say.
    """

    metric: str
    value: float
    unit: str = "%"
    higher_is_better: bool = True
    split: str = "test"
    selected_by: Literal["last", "val", "test"] = "last"
    n: int = Field(description="how many test samples the number is over")
    interval: tuple[float, float] | None = None
    bootstrap: tuple[float, float] | None = None
    seeded: bool | None = None

    @pydantic.model_serializer(mode="wrap")
    def _without_what_is_unknown(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leaves out a bootstrap that was not made, and what nobody said: older records keep their checksum."""
        later = ("bootstrap", "seeded")
        return {name: value for name, value in dump(self).items() if name not in later or value is not None}


class Artifact(Settings):
    """A file kept beside the records, below the output folder that they lie in."""

    path: str
    sha256: str

    @pydantic.field_validator("path")
    @classmethod
    def _is_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path.startswith("/") or set(path) & {"\\", ":"} or not path.isprintable():
            raise ValueError(f"the artifact '{path[:80]}' would lie outside the output folder")
        return path


class Record(Settings):
    """One checkpoint, task, data set and seed.

    Its identity leaves out what cannot change the number: names, machine, and the card's account of where weights
    come from.
    """

    schema_version: Literal[1] = SCHEMA
    status: Literal["ok", "failed", "skipped"]
    task: str
    label: str = Field(description="what leaderboards call the task with these settings")
    version: str
    primary: str = Field(description="the score that leaderboards show")
    dataset: str
    dataset_revision: str
    data_fingerprint: dict[str, str]
    split: str | None = Field(default=None, description="the judged split; None: the data set's own")
    notes: tuple[str, ...] = Field(default=(), description="what a reader of the numbers has to know of the data")
    chance: float | None = Field(
        default=None, description="the accuracy of guessing, percent; None: the data was not opened"
    )
    candidate: str
    digest: str
    file_sha256: str | None
    card: Card
    load_report: LoadReport
    config: dict[str, Any]
    protocol_sha256: str
    seed: int
    limit: int | None
    scores: tuple[Score, ...] = ()
    images: dict[str, int] = Field(
        default={}, description="how many training images a task on a part of them saw, by score; under '' for all"
    )
    artifacts: dict[str, Artifact] = Field(default={}, description="by name; paths are relative to the output folder")
    error: str | None = None
    frozen: bool | None = Field(
        default=None, description="the backbone was bit-identical after the task; None: it was tuned"
    )
    seconds: float
    peak_memory_mb: float
    written: str
    environment: dict[str, Any]
    record_sha256: str = ""

    @pydantic.model_serializer(mode="wrap")
    def _without_what_is_usual(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leaves out fields of later versions that have nothing to say: older records keep their checksum."""
        return {name: value for name, value in dump(self).items() if name not in ("split", "notes", "images") or value}

    @property
    def identity(self) -> str:
        """sha256 of (digest, card, task, data, protocol, seed, limit): equal identities are the same experiment."""
        return identity(
            self.digest, self.card, self.task, self.data_fingerprint, self.protocol_sha256, self.seed, self.limit
        )

    @property
    def is_bug(self) -> bool:
        """Whether `error` is a traceback, and no message about something the person can mend."""
        return self.status == "failed" and errors.is_bug(self.error or "")

    def score(self, metric: str) -> Score | None:
        """The score of that name."""
        return next((score for score in self.scores if score.metric == metric), None)

    def seen(self, metric: str) -> int | None:
        """How many training images a score hangs on, where its task saw a part of them and said so."""
        return self.images.get(metric, self.images.get(""))

    def sealed(self) -> "Record":
        """The same record with its own checksum filled in."""
        return self.model_copy(update={"record_sha256": self._checksum()})

    def is_intact(self) -> bool:
        """Whether the content is still what was sealed."""
        return self.record_sha256 == self._checksum()

    def _checksum(self) -> str:
        return settings.sha256(self.model_dump(mode="json", exclude={CHECKSUM}))


def identity(
    digest: str,
    card: Card,
    task: str,
    fingerprint: dict[str, str],
    protocol_sha256: str,
    seed: int,
    limit: int | None,
) -> str:
    """What makes two runs the same experiment, as a sha256."""
    return settings.sha256(
        {
            "digest": digest,
            "architecture": card.architecture.model_dump(mode="json"),
            "preprocess": card.preprocess.model_dump(mode="json"),
            "task": task,
            "data": fingerprint,
            "protocol": protocol_sha256,
            "seed": seed,
            "limit": limit,
        }
    )


def protocol_sha256(task: str, version: str, config: Settings, split: str | None = None) -> str:
    """The hash two numbers must share to stand in one column; `split` is judged in place of the data set's own."""
    judged = {"split": split} if split else {}
    return settings.sha256({"task": task, "version": version, "config": config.model_dump(mode="json"), **judged})


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
        raise kind(f"{path} is not a record: {_told(error)}") from None
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


def _told(error: Exception) -> str:
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


@contextmanager
def uncollected() -> Iterator[None]:
    """Garbage collection is off inside the block: among many records it takes as long as reading them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


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
