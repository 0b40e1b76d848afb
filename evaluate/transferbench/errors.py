"""The error that a user can fix, and suggestions for misspelled names."""

import difflib
import errno
import os
import re
import shlex
import shutil
import traceback
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNUSABLE = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)
"""What a disk answers that is full, and one that cannot be written to or read where it was tried."""

OF_PATHS = (errno.ENOENT, errno.ENOTEMPTY, errno.ELOOP, errno.EINVAL)
"""What the system answers when a path is at fault and neither its disk nor the program."""
LOOP = "Symlink loop from "
"""What pathlib says when it resolves one."""
LONGEST = 100
"""Characters that are shown of a path."""

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, those that turn the direction of writing, and what no file or XML can hold."""


class UserError(Exception):
    """Something the user can fix.

    The message says what was found, what was expected and what to do. Command lines print it bare and exit with 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'knn'?"` when a known word is near, else the empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{match[0]}'?" if match else ""


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of names."""
    names = sorted(known)
    return UserError(f"Unknown {kind} '{word}'.{nearest(word, names)} Known: {', '.join(names) or 'none'}.")


def of_a_path(error: Exception) -> UserError | None:
    """What a person can mend where the system refuses a path; None of any other error."""
    if str(error).startswith(LOOP):
        return UserError(f"{str(error).removeprefix(LOOP)[1:-1]} is a link that leads back to itself. Mend the link.")
    if not isinstance(error, OSError) or error.errno not in OF_PATHS or error.filename is None:
        return None
    path = os.fsdecode(error.filename)
    shown = path if len(path) <= LONGEST else f"{path[:LONGEST]}... ({len(path)} characters)"
    return UserError(f"{shown} cannot be used: {error.strerror}. Expected another path, or mend what lies there.")


def elsewhere(path: str | PathLike[str]) -> str:
    """What is said of a path that is an address, or a link that leads nowhere; empty for any other."""
    text = os.fspath(path)
    if address := re.match(r"(https?|ftp|s3|gs):/+(.+)", text):
        url = f"{address[1]}://{address[2]}"
        return f"{url} is an address, and a file or folder of this machine is expected: curl -LO {shlex.quote(url)}"
    if os.path.islink(text) and not os.path.exists(text):  # noqa: PTH110, PTH114 (they raise nothing)
        return f"{text} is a link to {os.readlink(text)}, where nothing is. Mend the link."  # noqa: PTH115
    return ""


def require_of_hub(text: str, library: str) -> None:
    """Refuse, by a UserError, a path of this machine where `LIBRARY:` asks for a name of a library's."""
    path = text.removeprefix(f"{library}:")
    is_here = os.path.exists(path) and path.count("/") != 1  # noqa: PTH110 (ORG/NAME may lie here too)
    if path.startswith((".", "/", "~")) or is_here:
        raise UserError(
            f"'{text}' asks for a name of {library}, and {path} is a path of this machine. Leave out '{library}:'."
        )


def of_disk(error: Exception) -> UserError | None:
    """What a person can mend where a disk is full or cannot be used; None of any other error."""
    if not isinstance(error, OSError) or error.errno not in (*FULL, *UNUSABLE):
        return None
    place = str(error.filename or "a file")
    if error.errno not in FULL:
        return UserError(f"Cannot use {place}: {error.strerror}. Choose another folder, or mend its permissions.")
    room = f" {_free(Path(place)) / 2**20:.1f} MiB are free there." if error.filename else ""
    return UserError(
        f"Cannot write {place}: {error.strerror}.{room} Free some space or choose another folder, and run the same "
        "command again: what is finished is kept."
    )


def _free(path: Path) -> int:
    """Bytes that are free where a file would be."""
    return shutil.disk_usage(next(each for each in path.absolute().parents if each.is_dir())).free


def printable(text: str) -> str:
    """The text with characters that steer a terminal, break XML or turn the writing around as their numbers.

    Lines stay lines: newlines and tabs are left.
    """
    return STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def error_text(error: Exception) -> str:
    """What a record says of an error: the bare message of what a person can mend, of a bug its traceback."""
    known = error if isinstance(error, UserError) else of_disk(error)
    return str(known) if known else "".join(traceback.format_exception(error))


def is_bug(text: str) -> bool:
    """Whether what was `told` is a traceback, and no message about something that the user can fix."""
    return "Traceback (most recent call last)" in text.partition("\n")[0]


def summary(text: str) -> str:
    """One line of what was `told`: the first of a message, the last of a traceback."""
    lines = text.strip().splitlines() or [""]
    return lines[-1] if is_bug(text) else lines[0]
