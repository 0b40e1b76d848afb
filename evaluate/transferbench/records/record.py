"""One result, with everything that the number depends on."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

import pydantic
from pydantic import Field

from transferbench import errors, settings
from transferbench.checkpoints import Card, LoadReport
from transferbench.settings import Settings

SCHEMA = 1
CHECKSUM = "record_sha256"
"""The field that holds the sha256 of all others."""


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
