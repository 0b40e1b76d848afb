"""Where a file's storages lie: memory that is read from the disk when it is touched."""

import mmap
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from transferbench.checkpoints.containers import AGAIN
from transferbench.errors import UserError

PIECE = 1 << 20
"""Bytes of a file that are read at once."""


def mapped(path: Path) -> mmap.mmap:
    """The file as private memory: pages are read when touched, writes never reach the disk."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def flat(memory: mmap.mmap, dtype: torch.dtype, start: int, count: int) -> Tensor:
    """`count` values that begin at byte `start`, as a view of the file."""
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=start) if count else torch.empty(0, dtype=dtype)


class Archive:
    """torch's zip file: a pickle `data.pkl` and one uncompressed member a storage, which are mapped where they lie."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        self.members = {member.filename: member for member in entries}
        if twice := [name for name, count in Counter(member.filename for member in entries).items() if count > 1]:
            raise UserError(f"{path} holds '{twice[0]}' twice, and readers differ in which of them they take. {AGAIN}")
        self.has_checksums = any(member.CRC for member in entries)
        """torch writes 0 for all of them where it was told to save without."""
        self.is_script = any(name.endswith("/constants.pkl") or "/code/" in name for name in self.members)
        """TorchScript: `data.pkl` is a module whose attributes hold the tensors, beside code that is never run."""
        pickles = [name for name in self.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UserError(f"{path} is a zip without a checkpoint's data.pkl. Unpack it and name the file in it.")
        self.path = path
        self.root = pickles[0].removesuffix("data.pkl")
        self.memory = mapped(path)
        self.storages: dict[str, Tensor] = {}

    def span(self, name: str) -> tuple[int, int]:
        """First byte and size of a member."""
        member = self.members[self.root + name]
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise UserError(
                f"{self.path}: '{member.filename}' is compressed, which no checkpoint's members are, and might expand "
                "without limit. Save the checkpoint again with torch.save."
            )
        local = member.header_offset
        if self.memory[local : local + 4] != b"PK\x03\x04":
            raise EOFError(member.filename)
        names = int.from_bytes(self.memory[local + 26 : local + 28], "little")
        extra = int.from_bytes(self.memory[local + 28 : local + 30], "little")
        start = local + 30 + names + extra
        if start + member.file_size > len(self.memory):
            raise EOFError(member.filename)
        return start, member.file_size

    def content(self, name: str) -> bytes:
        """A member's bytes, checked."""
        start, size = self.span(name)
        self._check(name)
        return self.memory[start : start + size]

    def check(self, tensors: Iterable[Tensor]) -> None:
        """Hold the storages that some tensors lie in against their checksums.

        Raises:
            UserError: naming the member that is not what was written.
        """
        wanted = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
        for key, storage in self.storages.items():
            if storage.numel() and storage.untyped_storage().data_ptr() in wanted:
                self._check(f"data/{key}")

    def _check(self, name: str) -> None:
        """Read from the file and not from the mapped memory, which would then be kept."""
        (start, left), found = self.span(name), 0
        with self.path.open("rb") as file:
            file.seek(start)
            while left and (piece := file.read(min(left, PIECE))):
                found, left = zlib.crc32(piece, found), left - len(piece)
        if self.has_checksums and found != self.members[self.root + name].CRC:
            raise UserError(f"{self.path} was damaged: '{self.root}{name}' does not match its checksum. {AGAIN}")

    def storage(self, dtype: torch.dtype, key: str, count: int) -> Tensor:
        """A storage as a flat tensor, the same one each time."""
        if key not in self.storages:
            start, size = self.span(f"data/{key}")
            if not 0 <= count * dtype.itemsize <= size:
                raise EOFError(f"storage {key}")
            self.storages[key] = flat(self.memory, dtype, start, count)
        return self.storages[key]
