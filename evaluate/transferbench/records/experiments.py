"""When results are of the same experiment, and in which order experiments are listed."""

from typing import NamedTuple

from transferbench.records.record import Record


class Experiment(NamedTuple):
    """What was measured, on whichever network and with whichever seed; `data_fingerprint` is sorted by split."""

    task: str
    protocol_sha256: str
    data_fingerprint: tuple[tuple[str, str], ...]
    limit: int | None


def experiment(record: Record) -> Experiment:
    """What results share that may stand beside each other."""
    data = tuple(sorted(record.data_fingerprint.items()))
    return Experiment(record.task, record.protocol_sha256, data, record.limit)


def question(record: Record) -> Experiment:
    """The experiment as far as it is known where the data was not there: with the data set's name for its images."""
    return experiment(record)._replace(data_fingerprint=(("name", record.dataset),))


def place(record: Record) -> tuple[str, ...]:
    """What results are listed in the order of."""
    return record.dataset, record.task, record.label, record.protocol_sha256
