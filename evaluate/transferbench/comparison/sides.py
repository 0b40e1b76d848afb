"""Who is compared: the results that a name, a digest, a checkpoint, a record or a folder of records stands for."""

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from transferbench.checkpoints import Card
from transferbench.checkpoints.inspect import inspect
from transferbench.errors import UserError, nearest
from transferbench.records import Record, collection
from transferbench.records.collection import StoredRecord
from transferbench.records.subjects import LETTERS, answers_to, is_control, network, subject, words_apart

Records = tuple[StoredRecord, ...]
AT = "@"
"""Between a name and the word that says which network of that name is meant."""


@dataclass(frozen=True)
class Side:
    """One side: the records of one candidate, or of one recipe's seeds. `file` is how commands name its weights."""

    name: str
    stored: Records
    file: str

    @property
    def first(self) -> Record:
        """A record that says which network it is."""
        return self.stored[0].record


def find_side(text: str, folders: Sequence[Path], stack: ExitStack) -> Side:
    """What `text` stands for.

    Args:
        text: a record's file, a folder or archive of records, a checkpoint's file, the name of a candidate,
            `NAME@WHICH` where several share it, or the first characters of a digest.
        folders: where the records of checkpoints, names and digests are looked for.
        stack: holds unpacked archives for as long as they are needed.

    Raises:
        UserError: when there is no such thing, it has no results, or it could be several networks.
    """
    return _chosen(text, _choices(text, folders, stack))


def find_sides(a: str, b: str, folders: Sequence[Path], stack: ExitStack) -> tuple[Side, Side]:
    """What both stand for, as `find_side` finds it; a control's name stands for the other side's own control.

    Raises:
        UserError: as `find_side` does.
    """
    first, second = (_choices(text, folders, stack) for text in (a, b))
    return _chosen(a, first, second), _chosen(b, second, first)


def is_own_control(control: Side, other: Side) -> bool:
    """Whether one side is the network of the other as it was before any training."""
    return is_control(control.first) and network(control.first.card) == network(other.first.card)


def apart(first: Record, second: Record) -> list[str]:
    """What tells the networks of two results apart, each as `name a, not b`; weights are not looked at."""
    names = [each.card.architecture.name for each in (first, second)]
    ours, theirs = (each.card.preprocess.model_dump(mode="json") for each in (first, second))
    ours, theirs = ({"architecture": name, **facts} for name, facts in zip(names, (ours, theirs), strict=True))
    return [f"{name} {ours[name]}, not {theirs.get(name)}" for name in ours if ours[name] != theirs.get(name)]


def _facts(record: Record) -> dict[str, object]:
    card = record.card
    made = card.origin.model_dump(include={"method", "recipe", "data", "epochs", "source"})
    return {**card.architecture.arguments, **card.preprocess.model_dump(mode="json"), **made}


def _chosen(text: str, mine: Sequence[Side], others: Sequence[Side] = ()) -> Side:
    if len(mine) > 1 and len(others) == 1 and not is_control(others[0].first):
        mine = [side for side in mine if is_own_control(side, others[0])] or mine
    if len(mine) == 1:
        return mine[0]
    groups = [[each.record for each in side.stored] for side in mine]
    facts = [_facts(side.first) for side in mine]
    differing = [name for name in facts[0] if len({str(each.get(name)) for each in facts}) > 1]
    lines = []
    for side, word, known in zip(mine, words_apart(groups), facts, strict=True):
        called = side.first.candidate
        said = [side.first.card.architecture.name, *(f"{name} {known.get(name)}" for name in differing)]
        digests = sorted({each.record.digest[:12] for each in side.stored})
        lines.append(f"  {shlex.quote(f'{called}{AT}{word}')}  {', '.join(said)}; digest {', '.join(digests)}")
    where = f" with --in {text}" if _is_folder(text) else ""
    raise UserError("\n".join([f"'{text}' stands for {len(mine)} networks. Name one of them{where}:", *lines]))


def _choices(text: str, folders: Sequence[Path], stack: ExitStack) -> list[Side]:
    """A side for each network that a text may stand for, one at least."""
    path = Path(text).expanduser()
    if _is_folder(text):
        return _of_folder(text, _opened([path], stack))
    stored, where = _opened(folders, stack), ", ".join(map(str, folders))
    if path.is_file():
        return _of_file(text, stored, where, folders[0])
    return _named(text, stored) or _of_digest(text, stored) or _none(text, stored, where)


def _is_folder(text: str) -> bool:
    path = Path(text).expanduser()
    return path.is_dir() or path.suffix.lower() in (".json", collection.ARCHIVE)


def _of_folder(text: str, stored: Sequence[StoredRecord]) -> list[Side]:
    chosen = [each for each in stored if not is_control(each.record)] or stored
    names = sorted({each.record.candidate for each in chosen})
    if len(names) > 1:
        raise UserError(f"{text} holds several candidates: {', '.join(names)}. Name one of them, with --in {text}.")
    return _sides(chosen, subject, names[0])


def _of_file(text: str, stored: Sequence[StoredRecord], where: str, out: Path) -> list[Side]:
    read = inspect(Path(text).expanduser())
    digest, own = read.digest, network(Card(architecture=read.architecture, preprocess=read.preprocess))
    chosen = [each for each in stored if each.record.digest == digest]
    chosen = [each for each in chosen if network(each.record.card) == own] or chosen
    if not chosen:
        raise UserError(
            f"{where} holds no result of {text} (digest {digest[:12]}). Search elsewhere with --in FOLDER, or "
            f"make them: evaluate all {text} --out {out}"
        )
    return _sides(chosen, lambda record: network(record.card), text)


def _named(text: str, stored: Sequence[StoredRecord]) -> list[Side]:
    """The candidates called `text` or, where there are none, those called NAME that answer to WHICH."""
    exact = [each for each in stored if each.record.candidate == text]
    if exact:
        return _sides(exact, subject, text)
    name, at, word = text.rpartition(AT)
    alike = _sides([each for each in stored if at and each.record.candidate == name], subject, name)
    return [side for side in alike if answers_to([each.record for each in side.stored], word)]


def _of_digest(text: str, stored: Sequence[StoredRecord]) -> list[Side]:
    same = [each for each in stored if len(text) >= LETTERS and each.record.digest.startswith(text.lower())]
    digests = sorted({each.record.digest for each in same})
    if len(digests) > 1:
        raise UserError(
            f"Several digests begin with '{text}': {', '.join(each[:16] for each in digests)}. Give more characters."
        )
    sides = _sides(same, lambda record: network(record.card), text)
    return [replace(side, name=f"{side.name} [{digests[0][:LETTERS]}]") for side in sides]


def _none(text: str, stored: Sequence[StoredRecord], where: str) -> list[Side]:
    names = sorted({each.record.candidate for each in stored})
    raise UserError(
        f"'{text}' is neither a file nor a candidate in {where}.{nearest(text, names)} Candidates: {', '.join(names)}. "
        "Search elsewhere with --in FOLDER."
    )


def _sides(stored: Iterable[StoredRecord], key: Callable[[Record], str], file: str) -> list[Side]:
    """The records by what they share; those of networks without a finished result stay with the only one that has."""
    groups: dict[str, list[StoredRecord]] = defaultdict(list)
    for each in sorted(stored, key=lambda each: each.record.status != "ok"):
        groups[key(each.record)].append(each)
    finished = [group for group in groups.values() if group[0].record.status == "ok"]
    if len(finished) < 2:
        finished = [[each for group in groups.values() for each in group]] if groups else []
    return [_side(group, file) for group in finished]


def _side(group: Sequence[StoredRecord], file: str) -> Side:
    first = group[0].record
    return Side(first.candidate, tuple(group), "FILE" if is_control(first) else file)


def _opened(paths: Sequence[Path], stack: ExitStack) -> list[StoredRecord]:
    """The records there; none is an error, saying what else lies there."""
    there = stack.enter_context(collection.opened(paths))
    if not there.stored:
        here = f"There are no records in {', '.join(map(str, paths))}. Search elsewhere with --in FOLDER."
        raise UserError("\n".join([here, *there.unreadable]))
    return list(there.stored)
