"""Results as files: a record each, collections of them, archives, and what papers report."""

from transferbench.records.files import (
    ARTIFACTS,
    LEADERBOARD,
    RECORDS,
    UNFINISHED,
    DamagedRecordError,
    path_of,
    read,
    read_all,
    uncollected,
    write,
)
from transferbench.records.record import CHECKSUM, Artifact, Record, Score, identity, now, protocol_sha256

__all__ = [
    "ARTIFACTS",
    "CHECKSUM",
    "LEADERBOARD",
    "RECORDS",
    "UNFINISHED",
    "Artifact",
    "DamagedRecordError",
    "Record",
    "Score",
    "identity",
    "now",
    "path_of",
    "protocol_sha256",
    "read",
    "read_all",
    "uncollected",
    "write",
]
