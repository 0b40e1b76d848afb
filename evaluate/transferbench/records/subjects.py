"""Whose results: which records are of one network, stand in one row, and are of the same computation."""

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from functools import cache

from transferbench import settings
from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import CONTROL, Card, Origin
from transferbench.errors import UserError
from transferbench.records.record import Record

LETTERS = 6
"""How many characters of a hash tell things apart for people."""


def is_control(record: Record) -> bool:
    """Whether it is of a network that nothing was loaded into."""
    return record.load_report.format == CONTROL


def network(card: Card) -> str:
    """Architecture and preprocessing, whatever the weights: a candidate and its own control share them."""
    return f"{_completed(card.architecture.model_dump_json())} {card.preprocess.model_dump_json()}"


@cache
def _completed(text: str) -> str:
    """An architecture with its family's defaults, which records written before an argument was added lack."""
    architecture = Architecture.model_validate_json(text)
    with contextlib.suppress(UserError):
        architecture = complete(architecture)
    return settings.canonical_json(architecture)


def subject(record: Record) -> str:
    """What the records of one row share: seeds of one recipe are one row, weights of unknown origin one each."""
    origin = record.card.origin.model_copy(update={"seed": None, "commit": None, "source_sha256": None})
    account = origin.model_dump_json() if origin != Origin() else record.digest
    return f"{record.candidate} {network(record.card)} {account}"


def words_apart(groups: Sequence[Sequence[Record]]) -> list[str]:
    """A word for each of some subjects' records that none of the others answers to.

    The architecture's name; else the first characters of the smallest digest; else of a hash of the subject.
    """
    ways = (
        lambda group: group[0].card.architecture.name,
        lambda group: min(record.digest for record in group)[:LETTERS],
        lambda group: mark(group[0])[:LETTERS],
    )
    by_way = [[way(group) for group in groups] for way in ways]
    return next((words for words in by_way if len(set(words)) == len(words)), by_way[-1])


def mark(record: Record) -> str:
    """A hash of the record's subject."""
    return settings.sha256({"subject": subject(record)})


def answers_to(group: Sequence[Record], word: str) -> bool:
    """Whether a word that `words_apart` may have given, or more characters of its hash, is for this subject."""
    hashes = [mark(group[0]), *(record.digest for record in group)]
    begins = len(word) >= LETTERS and any(each.startswith(word.lower()) for each in hashes)
    return begins or word == group[0].card.architecture.name


def computations(records: Iterable[Record], metric: str) -> list[Record]:
    """One record for each computation of a score, of finished records of one experiment, in their order.

    The same computation is one network with one seed or, where the seed cannot change the score, one network. Where
    nobody said whether it can, it cannot if all that two seeds gave is the same to the bit: scores and files. Of the
    same ones that written last counts.
    """
    listed = list(records)
    networks: dict[tuple[str, str], dict[int, Record]] = defaultdict(dict)
    for record in sorted(listed, key=lambda record: (record.written, record.record_sha256)):
        networks[record.digest, network(record.card)][record.seed] = record
    kept = {id(record) for seeds in networks.values() for record in _apart(list(seeds.values()), metric)}
    return [record for record in listed if id(record) in kept]


def values_of(runs: Iterable[Record], metric: str) -> list[float]:
    """A score of one subject's computations: a value a run; of a control a value a network, the mean of its runs."""
    values: dict[object, list[float]] = defaultdict(list)
    for i, record in enumerate(runs):
        if score := record.score(metric):
            values[record.digest if is_control(record) else i].append(score.value)
    return [statistics.fmean(each) for each in values.values()]


def _apart(seeds: Sequence[Record], metric: str) -> Iterable[Record]:
    """Of one network's records with several seeds those that are computations of their own."""
    said = {score.seeded for record in seeds if (score := record.score(metric))}
    if True in said:
        return seeds
    if False in said:
        return seeds[-1:]
    return {_all_found(record): record for record in seeds}.values()


def _all_found(record: Record) -> Hashable:
    scores = tuple((score.metric, score.value) for score in record.scores)
    return scores, tuple(sorted((name, artifact.sha256) for name, artifact in record.artifacts.items()))
