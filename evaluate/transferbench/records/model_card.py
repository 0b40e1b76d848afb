"""Hugging Face's model card (README.md) of a converted checkpoint, with a `model-index` of what records say of it.

Names of fields: huggingface_hub's `EvalResult` and `eval_results_to_model_index` (`repocard_data.py`, 2.4.0).
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from transferbench.checkpoints import Card
from transferbench.checkpoints.targets import canonical
from transferbench.records.experiments import experiment, place
from transferbench.records.record import Record, Score

NAME = "README.md"
HEAD = {"library_name": "transformers", "pipeline_tag": "image-feature-extraction"}
TASKS = {
    "detect": "object-detection",
    "segment_knn": "image-segmentation",
    "segment_linear": "image-segmentation",
    "spectrum": "image-feature-extraction",
}
"""The Hub's names of tasks; of all others `image-classification`."""
METRICS = {"top1": "accuracy", "miou": "mean_iou"}
"""The Hub's names of metrics; others keep their own."""
COLUMNS = ("task", "data", "split", "metric", "value", "test images", "selected by", "seeds", "protocol_sha256")


@dataclass(frozen=True)
class Subject:
    """A converted network: what it is called, its card, and its digest."""

    name: str
    card: Card
    digest: str

    def owns(self, record: Record) -> bool:
        """Whether a record is a finished one, on all images, of these weights, this network and this preprocessing."""
        is_whole = record.status == "ok" and record.limit is None and record.score(record.primary) is not None
        return is_whole and record.digest == self.digest and _computed(record.card) == _computed(self.card)


@dataclass(frozen=True)
class Result:
    """The primary score of one protocol on one data set, with every seed once; `records` are in the order of seeds."""

    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """Any of the records: but for seed and score they are of one experiment."""
        return self.records[0]

    @property
    def scores(self) -> list[Score]:
        """The primary score of each record."""
        return [score for record in self.records if (score := record.score(record.primary))]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return round(statistics.fmean(score.value for score in self.scores), 4)


def page(subject: Subject, records: Iterable[Record]) -> str:
    """The text of README.md; without a record that `subject` owns it has no `model-index`."""
    found = results(subject, records)
    method = subject.card.origin.method
    head: dict[str, Any] = HEAD | {"tags": ["self-supervised-learning", *([method] if method else [])]}
    if found:
        head["model-index"] = [{"name": subject.name, "results": list(_index(found))}]
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join([*_about(subject), *(_table(found) if found else [])]) + "\n"


def results(subject: Subject, records: Iterable[Record]) -> list[Result]:
    """What records say of a network, in the order of data sets and labels; of one seed the record written last."""
    groups: dict[object, dict[int, Record]] = defaultdict(dict)
    for record in sorted(filter(subject.owns, records), key=lambda each: each.written):
        groups[experiment(record)][record.seed] = record
    ordered = [Result(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in groups.values()]
    return sorted(ordered, key=lambda each: place(each.first))


def _computed(card: Card) -> tuple[object, ...]:
    return card.architecture.family, canonical(card.architecture), card.preprocess


def _index(found: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """One entry for each task of the Hub, data set and split."""
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for each in found:
        task = TASKS.get(each.first.task, "image-classification")
        groups[task, each.first.dataset, each.scores[0].split].append(each)
    for (task, data, split), same in groups.items():
        metrics = [_metric(each) for each in same]
        yield {"task": {"type": task}, "dataset": {"name": data, "type": data, "split": split}, "metrics": metrics}


def _metric(result: Result) -> dict[str, Any]:
    record, score = result.first, result.scores[0]
    kind = METRICS.get(score.metric, score.metric)
    name = f"{record.label}, {score.metric} ({score.unit}), protocol {record.protocol_sha256[:8]}"
    return {"type": kind, "value": result.mean, "name": name}


def _about(subject: Subject) -> list[str]:
    origin = subject.card.origin.model_dump(exclude_none=True)
    return [
        f"# {subject.name}",
        "",
        f"{subject.card.architecture.name}, digest `{subject.digest}`.",
        "",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in origin.items()),
    ]


def _table(found: Sequence[Result]) -> list[str]:
    """Every number of the index with all that it depends on, and what is to be known of the data."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_row, found)]
    notes = dict.fromkeys(f"- {each.first.dataset}: {note}" for each in found for note in each.first.notes)
    said = "The 95 % interval over test images in brackets; over several seeds, mean ± deviation (n - 1)."
    return ["", "## Results", "", *(_line(row) for row in rows), "", said, *notes]


def _row(result: Result) -> tuple[str, ...]:
    record, score = result.first, result.scores[0]
    values = [each.value for each in result.scores]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    if score.interval and not spread:
        spread = f" [{score.interval[0]:.2f}, {score.interval[1]:.2f}]"
    seeds = ", ".join(str(each.seed) for each in result.records)
    value = f"{result.mean:.2f}{spread} {score.unit}".strip()
    counted = (score.split, score.metric, value, str(score.n), score.selected_by)
    return record.label, record.dataset, *counted, seeds, f"`{record.protocol_sha256}`"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
