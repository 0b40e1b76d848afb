"""Who is compared: the results that a name, a digest, a checkpoint, a record or a folder of records stands for."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from transferbench.checkpoints import CONTROL
from transferbench.checkpoints.inspect import inspect
from transferbench.errors import UserError, nearest
from transferbench.records import collection
from transferbench.records.collection import StoredRecord

SHORTEST = 6
"""The fewest characters of a digest that stand for it."""


@dataclass(frozen=True)
class Side:
    """One side: the records of one candidate, or of one recipe's seeds. `file` is how commands name its weights."""

    name: str
    found: tuple[StoredRecord, ...]
    file: str


def find_side(text: str, folders: Sequence[Path], stack: ExitStack) -> Side:
    """What `text` stands for.

    Args:
        text: a record's file, a folder or archive of records, a checkpoint's file, or the name or the first characters
            of the digest of a candidate.
        folders: where the records of checkpoints, names and digests are looked for.
        stack: holds unpacked archives for as long as they are needed.

    Raises:
        UserError: when there is no such thing, it has no results, or it holds several candidates.
    """
    path = Path(text).expanduser()
    if path.is_dir() or path.suffix.lower() in (".json", collection.ARCHIVE):
        found = _opened([path], stack)
        several = {each.record.candidate for each in found if each.record.load_report.format != CONTROL}
        if len(several) > 1:
            names = ", ".join(sorted(several))
            raise UserError(f"{text} holds several candidates: {names}. Name one of them, with --in {text}.")
        chosen = [each for each in found if each.record.candidate in several] or found
        return Side(chosen[0].record.candidate, tuple(chosen), chosen[0].record.candidate)
    found, where = _opened(folders, stack), ", ".join(map(str, folders))
    if path.is_file():
        digest = inspect(path).digest
        chosen = [each for each in found if each.record.digest == digest]
        if not chosen:
            raise UserError(
                f"{where} holds no result of {text} (digest {digest[:12]}). "
                f"Make them: evaluate all {text} --out {folders[0]}"
            )
        return Side(chosen[0].record.candidate, tuple(chosen), text)
    return Side(*_named(text, found, where), text)


def _opened(paths: Sequence[Path], stack: ExitStack) -> list[StoredRecord]:
    """The records there; none is an error, saying what else lies there."""
    there = stack.enter_context(collection.opened(paths))
    if not there.found:
        raise UserError("\n".join([f"There are no records in {', '.join(map(str, paths))}.", *there.unreadable]))
    return list(there.found)


def _named(text: str, found: Sequence[StoredRecord], where: str) -> tuple[str, tuple[StoredRecord, ...]]:
    exact = tuple(each for each in found if each.record.candidate == text)
    if exact:
        return text, exact
    same = tuple(each for each in found if len(text) >= SHORTEST and each.record.digest.startswith(text.lower()))
    digests = sorted({each.record.digest for each in same})
    if len(digests) > 1:
        raise UserError(
            f"Several digests begin with '{text}': {', '.join(each[:16] for each in digests)}. Give more characters."
        )
    if same:
        return f"{same[0].record.candidate} [{digests[0][:6]}]", same
    names = sorted({each.record.candidate for each in found})
    raise UserError(
        f"'{text}' is neither a file nor a candidate in {where}.{nearest(text, names)} Candidates: {', '.join(names)}."
    )
