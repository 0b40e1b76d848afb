"""Files that a result is kept with."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from transferbench import state
from transferbench.records import ARTIFACTS, Artifact, Record


def keep(files: Mapping[str, Path], folder: Path, record: Record) -> dict[str, Artifact]:
    """Copies of some files beside the records in an output folder, by name.

    Raises:
        OSError: when a file is not there, or the folder cannot be written.
    """
    place = Path(ARTIFACTS, record.digest[:12], f"{record.dataset}.{record.task}.{record.identity[:12]}")
    kept = {}
    for name, source in files.items():
        content = source.read_bytes()
        target = place / f"{name}{source.suffix}"
        state.write(folder / target, content)
        kept[name] = Artifact(path=target.as_posix(), sha256=hashlib.sha256(content).hexdigest())
    return kept
