"""Which kind of file a checkpoint is, by its first bytes; extensions lie."""

import json
import pickle
import re
from pathlib import Path

from transferbench.errors import UserError, elsewhere

LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
INDEX = ".safetensors.index.json"
"""How the name of a list of shards ends; its content is plain text."""
AGAIN = "Download or copy it again."


def kind(path: Path) -> str:
    """`safetensors`, `sharded safetensors` (an index in JSON), `torch zip`, `torch legacy` or `pickle`.

    Raises:
        UserError: for anything else, saying what it is and what to do.
    """
    head = _head(path)
    if not head:
        raise UserError(f"{path} is empty (0 bytes). {AGAIN}")
    if head.startswith(b"PK"):
        return "torch zip"
    if head.startswith(LEGACY_MAGIC):
        return "torch legacy"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head.lstrip().startswith(b"{") and path.name.endswith(INDEX):
        return "sharded safetensors"
    if head[0] == 0x80 and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "pickle"
    raise UserError(f"{path} is {_foreign(head)}; expected a checkpoint (.pth, .pt, .ckpt, .safetensors, .pkl).")


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(
                f"{path} is a pipe, socket or device; expected a checkpoint file. Write it into a file first."
            )
        with path.open("rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise UserError(elsewhere(path) or f"No checkpoint file at {path}.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; expected a checkpoint file. Name the file in it.") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}). Check the permissions of the file and its folder."
        ) from None


def shards(path: Path) -> list[Path]:
    """The files that hold the tensors: those an index names, in its own folder; of any other checkpoint itself.

    Raises:
        UserError: when an index names a file outside its folder, or one that is not there.
    """
    if not path.name.endswith(INDEX):
        return [path]
    names = named(path)
    for name in names:
        if Path(name).name != name or not path.with_name(name).is_file():
            raise UserError(f"{path} names the shard '{name}', which is not in the same folder. {AGAIN}")
    return [path.with_name(name) for name in names]


def named(index: Path) -> list[str]:
    """The names of the shards in an index, each once.

    Raises:
        UserError: when it is no such index.
    """
    try:
        return sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is no index of shards ({type(error).__name__}: {error}). {AGAIN}") from None


def _foreign(head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return "compressed with gzip (unpack it first)"
    if head[257:262] == b"ustar":
        return "a tar archive (unpack it first)"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer (run `git lfs pull`)"
    if re.match(rb"\W*<(?:!doctype|html|head|\?xml)", head, re.IGNORECASE):
        return "a web page, which servers send instead of a file that needs a login (log in, then download it again)"
    text = head.decode(errors="ignore")
    if len(text.encode()) > len(head) - 4 and all(letter.isprintable() or letter in "\t\r\n" for letter in text):
        return f"a text file (it begins '{text[:40].strip()}')"
    return f"of no known kind (it begins {head[:8].hex(' ')})"
