"""Results as files: a record each, collections of them, archives, and what papers report."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferbench.records.files import (
        ARTIFACTS,
        LEADERBOARD,
        RECORDS,
        UNFINISHED,
        DamagedRecordError,
        path_of,
        read,
        read_all,
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
    "write",
]

OF_RECORD = ("CHECKSUM", "Artifact", "Record", "Score", "identity", "now", "protocol_sha256")
"""The names that lie in `record`; the others lie in `files`."""


def __getattr__(name: str) -> Any:
    """Import on use, so that published numbers need no torch."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = importlib.import_module(f"transferbench.records.{'record' if name in OF_RECORD else 'files'}")
    found = globals()[name] = getattr(module, name)
    return found
