"""One result as one JSON file that says everything the number depends on."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from transferbench import settings, state
from transferbench.checkpoints import Card, LoadReport
from transferbench.settings import Settings


class Score(Settings):
    """One number. `interval` is the 95 % interval over test samples, in the same unit, where it is known."""

    metric: str
    value: float
    unit: str = "%"
    higher_is_better: bool = True
    split: str = "test"
    selected_by: Literal["last", "val", "test"] = "last"
    n: int = Field(description="how many test samples the number is over")
    interval: tuple[float, float] | None = None


class Artifact(Settings):
    """A file kept beside the records."""

    path: str
    sha256: str


class Record(Settings):
    """One checkpoint, task, data set and seed. Its identity leaves out everything that cannot change the number."""

    schema_version: int = 1
    status: Literal["ok", "failed", "skipped"]
    task: str
    version: str
    primary: str
    dataset: str
    dataset_revision: str
    data_fingerprint: dict[str, str]
    chance: float
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
    artifacts: dict[str, Artifact] = {}
    error: str | None = None
    frozen: bool | None = Field(None, description="the backbone was bit-identical after the task; None: it was tuned")
    seconds: float
    peak_memory_mb: float
    written: str
    environment: dict[str, Any]
    record_sha256: str = ""

    @property
    def identity(self) -> str:
        """sha256 of (digest, card, task, dataset, protocol, seed, limit): equal identities are the same experiment."""
        return identity(
            self.digest, self.card, self.task, self.data_fingerprint, self.protocol_sha256, self.seed, self.limit
        )

    def score(self, metric: str) -> Score | None:
        return next((score for score in self.scores if score.metric == metric), None)

    def sealed(self) -> "Record":
        """The same record with its own checksum filled in."""
        return self.model_copy(update={"record_sha256": self._checksum()})

    def is_intact(self) -> bool:
        """Whether the content is still what was sealed."""
        return self.record_sha256 == self._checksum()

    def _checksum(self) -> str:
        return settings.sha256(self.model_dump(mode="json", exclude={"record_sha256"}))


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


def protocol_sha256(task: str, version: str, config: Settings) -> str:
    """The hash two numbers must share to stand in one column."""
    return settings.sha256({"task": task, "version": version, "config": config.model_dump(mode="json")})


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(folder: Path, record: Record) -> Path:
    """Write a record under its own name, atomically; the same experiment overwrites itself and nothing else."""
    name = f"{record.candidate}.{record.dataset}.{record.task}.{record.identity[:16]}.json"
    path = folder / "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    state.write_json(path, record.sealed().model_dump(mode="json"))
    return path


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        ValueError: when the file holds none, or one edited since it was written.
    """
    try:
        record = Record.model_validate(json.loads(path.read_text()))
    except (pydantic.ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a record: {str(error).splitlines()[0]}") from None
    if not record.is_intact():
        raise ValueError(f"{path} was changed after it was written (its checksum does not match)")
    return record


def read_all(folder: Path) -> Iterator[tuple[Path, Record | ValueError]]:
    """Every JSON file below `folder` in name order, as a record or as the reason why it is none."""
    for path in sorted(folder.rglob("*.json")):
        try:
            yield path, read(path)
        except ValueError as error:
            yield path, error
