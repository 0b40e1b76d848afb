"""Results as files: a record each, collections of them, archives, and what papers report."""

from transferbench.records.record import (
    ARTIFACTS,
    CHECKSUM,
    LEADERBOARD,
    RECORDS,
    UNFINISHED,
    Artifact,
    Record,
    Score,
    identity,
    now,
    path_of,
    protocol_sha256,
    read,
    read_all,
    uncollected,
    write,
)

__all__ = [
    "ARTIFACTS",
    "CHECKSUM",
    "LEADERBOARD",
    "RECORDS",
    "UNFINISHED",
    "Artifact",
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
