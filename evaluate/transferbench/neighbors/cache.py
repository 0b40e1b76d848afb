"""Neighbors found once for the same features, and kept beside them."""

import hashlib
import io
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from transferbench import state
from transferbench.neighbors import Matrix, Metric, Neighbors, search
from transferbench.neighbors.requirements import capped, require_searchable
from transferbench.runtime import Runtime
from transferbench.settings import sha256

SCHEMA = 1


def cached_search(bank: Matrix, queries: Matrix, k: int, metric: Metric, runtime: Runtime, cache: Path) -> Neighbors:
    """The k nearest rows of `bank` for every query, from the cache where as many or more of the same rows lie there.

    Several processes share the queries; `cache` must be a folder that all of them see.

    Raises:
        UserError: as `search`, in every process.
    """
    identity = {"schema": SCHEMA, "metric": metric, "bank": _mark(bank), "queries": _mark(queries)}
    path = cache / "neighbours" / f"{sha256(identity)}.npz"
    require_searchable(bank, queries, k)
    k = capped(k, len(bank))
    neighbors = runtime.gather_objects(_read(path, k) if runtime.is_main else None)[0]
    if neighbors is None:
        mine = np.array_split(queries, runtime.world_size)[runtime.rank]
        parts = runtime.gather_objects(search(bank, mine, k, metric, device=runtime.device))
        values = np.concatenate([part.values for part in parts])
        neighbors = Neighbors(values, np.concatenate([part.indices for part in parts]))
        if runtime.is_main:
            buffer = io.BytesIO()
            np.savez(buffer, values=neighbors.values, indices=neighbors.indices)
            state.write(path, buffer.getvalue())
    return Neighbors(neighbors.values[:, :k], neighbors.indices[:, :k])


def _mark(rows: Matrix) -> str:
    """A sha256 of the shape and the numbers."""
    mark = hashlib.sha256(f"{rows.dtype} {rows.shape}".encode())
    for start in range(0, len(rows), 4096):
        mark.update(np.ascontiguousarray(rows[start : start + 4096]).data)
    return mark.hexdigest()


def _read(path: Path, k: int) -> Neighbors | None:
    try:
        with np.load(path) as arrays:
            neighbors = Neighbors(arrays["values"], arrays["indices"])
        with suppress(OSError):
            os.utime(path)  # when it was last used, for pruning
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return neighbors if neighbors.indices.shape[1] >= k else None
