"""Records from folders, files and archives, of one machine or several, brought together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from transferbench import records
from transferbench.errors import UserError, elsewhere
from transferbench.records import Record, archive
from transferbench.records.experiments import Experiment, experiment, question

ARCHIVE = ".zip"


@dataclass(frozen=True)
class StoredRecord:
    """A record, and the output folder below which its artifacts lie."""

    record: Record
    out: Path


@dataclass(frozen=True)
class Collection:
    """What was found.

    Attributes:
        stored: one for each experiment and candidate's name.
        unreadable: why each of the other JSON files is no record.
        notes: experiments of which there were several results that differ.
        damaged: those of `unreadable` that are records of ours, edited, cut short or of a later version.
    """

    stored: tuple[StoredRecord, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def records(self) -> list[Record]:
        """The records alone."""
        return [each.record for each in self.stored]


@contextmanager
def opened(paths: Sequence[Path], without: Sequence[Path] = ()) -> Iterator[Collection]:
    """The records in folders, record files and archives; what an archive holds is there inside the block.

    Of several results of one experiment under one name a finished one counts before a failed one and that before a
    skipped one, and of equals the one written last, so that no experiment counts twice.

    Args:
        paths: where to look; one that is named twice is looked at once.
        without: folders whose records are left out, should they lie inside one of those.

    Raises:
        UserError: when a path is not there, or an archive was changed.
    """
    with ExitStack() as stack:
        stored: list[StoredRecord] = []
        unreadable: list[str] = []
        damaged: list[str] = []
        for path in distinct(paths):
            folder = stack.enter_context(archive.unpacked(path)) if _is_archive(path) else path
            inner = {each.resolve() for each in without if path.resolve() in each.resolve().parents}
            for file, each in _read(folder):
                if inner and inner & set(file.resolve().parents):
                    continue
                if isinstance(each, Record):
                    stored.append(StoredRecord(each, output_of(file)))
                else:
                    unreadable.append(str(each).replace(str(folder), str(path)))
                    damaged += unreadable[-1:] if isinstance(each, records.DamagedRecordError) else []
        yield replace(merged(stored, unreadable), damaged=tuple(damaged))


def distinct(paths: Sequence[Path]) -> list[Path]:
    """The paths, each place once, by the first name it has."""
    named: dict[Path, Path] = {}
    for path in paths:
        named.setdefault(path.resolve(), path)
    return list(named.values())


def output_of(file: Path) -> Path:
    """The output folder that a record's file belongs to: the one above `records`, else the file's own."""
    return file.parent.parent if file.parent.name == records.RECORDS else file.parent


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ARCHIVE and path.is_file()


def _read(path: Path) -> Iterable[tuple[Path, Record | ValueError]]:
    if path.is_dir():
        inside = path / records.RECORDS if (path / archive.MANIFEST).is_file() else path
        return records.read_all(inside)
    if not path.exists():
        raise UserError(
            elsewhere(path)
            or f"{path} does not exist. Expected a folder of records, a record or an archive made by `evaluate pack`."
        )
    try:
        return [(path, records.read(path))]
    except ValueError as error:
        return [(path, error)]


def merged(stored: Sequence[StoredRecord], unreadable: Sequence[str]) -> Collection:
    """One result for each experiment and name, by the rule of `opened`."""
    alike: dict[object, list[StoredRecord]] = defaultdict(list)
    for each in stored:
        alike[_run_of(each.record, experiment(each.record))].append(each)
    kept: list[StoredRecord] = []
    notes: list[str] = []
    for same in (same for group in alike.values() for same in _by_identity(group)):
        chosen = max(same, key=lambda each: (_worth(each.record), each.record.written)) if len(same) > 1 else same[0]
        kept.append(chosen)
        notes += _difference(chosen.record, [each.record for each in same]) if len(same) > 1 else []
    absent = {_question(each.record) for each in kept if not each.record.data_fingerprint}
    if absent:
        absent &= {_question(each.record) for each in kept if each.record.data_fingerprint}
    answered = [each for each in kept if each.record.data_fingerprint or _question(each.record) not in absent]
    return Collection(tuple(answered), tuple(unreadable), tuple(notes))


def _run_of(record: Record, what: Experiment) -> tuple[object, ...]:
    """Who was measured on what with which seed: all of the identity but the card, and the name."""
    return record.candidate, record.digest, what, record.seed


def _question(record: Record) -> tuple[object, ...]:
    return _run_of(record, question(record))


def _by_identity(group: Sequence[StoredRecord]) -> Iterable[list[StoredRecord]]:
    if len(group) == 1:
        return [list(group)]
    same: dict[str, list[StoredRecord]] = defaultdict(list)
    for each in group:
        same[each.record.identity].append(each)
    return same.values()


def _worth(record: Record) -> int:
    return ("skipped", "failed", "ok").index(record.status)


def _difference(chosen: Record, same: Sequence[Record]) -> list[str]:
    """A note where finished results of one experiment have other main scores."""
    scores = {score.value for record in same if record.status == "ok" and (score := record.score(record.primary))}
    if len(scores) < 2:
        return []
    values = ", ".join(f"{value:g}" for value in sorted(scores))
    return [
        f"{chosen.candidate} {chosen.dataset} {chosen.label}: {len(same)} results of one experiment ({values}); "
        f"the one written last counts, {chosen.written}."
    ]
