"""Many files as one: a zip whose manifest holds the sha256 of each; the same content is the same bytes."""

import hashlib
import io
import json
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from transferbench import state
from transferbench.errors import UserError, of_disk

MANIFEST = "manifest.json"
FORMAT = "transferbench-archive-1"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold; every file has it."""
KIND = zipfile.ZIP_DEFLATED
ENCRYPTED = 1
LARGEST, RATIO = 1 << 30, 100
"""Bytes that an archive may state in all, and for each of its own: records compress by 10, predictions by more."""


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names in the archive, sorted, with the manifest first and no times of their own."""
    hashes = {name: sha256(files[name]) for name in sorted(files)}
    manifest = json.dumps({"format": FORMAT, "files": hashes}, indent=2).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", KIND) as archive:
        for name, content in [(MANIFEST, manifest), *((name, files[name]) for name in hashes)]:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, KIND)
    state.write(path, buffer.getvalue())


def sha256(content: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A temporary folder with what an archive holds, all of it checked against the manifest.

    Raises:
        UserError: naming the entry that was changed, is not in the manifest, is missing, or would leave the folder.
    """
    with tempfile.TemporaryDirectory(prefix="transferbench-") as name:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, Path(name))
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            if of_disk(error):
                raise
            raise UserError(f"{path} is not a whole archive: {error}. Make it again with `evaluate pack`.") from None
        yield Path(name)


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    entries = archive.infolist()
    stated, most = sum(entry.file_size for entry in entries), max(LARGEST, RATIO * path.stat().st_size)
    if stated > most:
        raise UserError(f"{path} is refused: it states {stated:,} bytes, and more than {most:,} are not unpacked.")
    if stated > shutil.disk_usage(folder).free:
        raise UserError(f"{path} holds {stated:,} bytes, and {folder.parent} has not so many free. Set TMPDIR.")
    for entry in entries:
        if reason := _why_not(entry):
            raise UserError(f"{path} is refused: its entry '{entry.filename}' {reason}. Nothing was unpacked.")
    expected, present = _manifest(archive, path), [entry.filename for entry in entries]
    odd = {
        "holds twice": [name for name, count in Counter(present).items() if count > 1],
        "holds but does not list in its manifest": set(present) - {*expected, MANIFEST},
        "lacks": set(expected) - set(present),
    }
    for what, names in odd.items():
        if names:
            raise UserError(f"{path} was changed after it was packed: it {what} '{min(names)}'.")
    (folder / MANIFEST).write_bytes(_content(archive, MANIFEST))
    for name, hashed in expected.items():
        content = _content(archive, name)
        if sha256(content) != hashed:
            raise UserError(f"{path} was changed after it was packed: '{name}' does not match its manifest.")
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise UserError(f"{path}: its entry '{name[:200]}' cannot be unpacked ({error.strerror}).") from None


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry's bytes, no more than it states."""
    with archive.open(name) as file:
        return file.read(archive.getinfo(name).file_size)


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    try:
        manifest = json.loads(_content(archive, MANIFEST))
        if manifest["format"] == FORMAT:
            return {str(name): str(hashed) for name, hashed in manifest["files"].items()}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(f"{path} is not an archive made by `evaluate pack`: it holds no {MANIFEST} that says '{FORMAT}'.")


def _why_not(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry may not be unpacked; None when it may."""
    place = PurePosixPath(entry.filename)
    if place.is_absolute() or ".." in place.parts or "\\" in entry.filename or ":" in entry.filename:
        return "would leave the folder"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.compress_type not in (zipfile.ZIP_STORED, KIND) or entry.flag_bits & ENCRYPTED:
        return "is encrypted, or compressed in another way than `evaluate pack` does"
    if not place.parts or not entry.filename.isprintable():
        return "has no proper name"
    return "is a folder" if entry.is_dir() else None
