"""What a checkpoint's records say of it in words: its weights, what each result was made with, and where."""

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transferbench.records import Record
from transferbench.tables.board import DECIMALS


@dataclass(frozen=True)
class Result:
    """One record as a line of a table, and its settings."""

    dataset: str
    label: str
    score: str
    interval: str
    metric: str
    seed: str
    images: str
    protocol: str
    settings: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, str], ...]
    record: str
    written: str
    seconds: str


@dataclass(frozen=True)
class Facts:
    """Names and values under a heading."""

    title: str
    pairs: tuple[tuple[str, str], ...]


def result(record: Record) -> Result:
    """A record's main score and what it hangs on."""
    score = record.score(record.primary)
    low_high = (score.interval or score.bootstrap) if score else None
    pretrained = record.card.origin.seed
    return Result(
        dataset=record.dataset,
        label=record.label,
        score=f"{score.value:.{DECIMALS}f}{' ' + score.unit if score.unit else ''}" if score else "",
        interval=f"{low_high[0]:.{DECIMALS}f} to {low_high[1]:.{DECIMALS}f}" if low_high else "",
        metric=record.primary,
        seed=str(record.seed) if pretrained is None else f"{pretrained}, {record.seed}",
        images=f"{score.n:,}" if score else "",
        protocol=record.protocol_sha256,
        settings=(*((name, readable(value)) for name, value in record.config.items()), *_data(record)),
        scores=tuple((each.metric, f"{each.value:.4g} {each.unit}".strip()) for each in record.scores),
        record=record.record_sha256,
        written=record.written,
        seconds=f"{record.seconds:.1f} s",
    )


def _data(record: Record) -> list[tuple[str, str]]:
    """What is unusual about the data."""
    split = [("split", record.split)] if record.split else []
    return split + [("data", note) for note in record.notes]


def weights(records: Sequence[Record]) -> list[Facts]:
    """How each file of weights was read, and what its card says; one entry a digest."""
    by_digest: dict[str, Record] = {}
    for record in records:
        by_digest.setdefault(record.digest, record)
    return [_weights(record) for record in by_digest.values()]


def environments(records: Sequence[Record]) -> list[Facts]:
    """Where the results were made; those of one machine, commit and command once."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[json.dumps(record.environment, sort_keys=True)].append(record)
    return [Facts(_where(group), tuple(_environment(group[0]))) for group in groups.values()]


def readable(value: Any) -> str:
    """A setting's value as one reads it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value))
    return "none" if value is None else json.dumps(value)


def _weights(record: Record) -> Facts:
    report, card, origin = record.load_report, record.card, record.card.origin
    arguments = ", ".join(f"{name} {readable(value)}" for name, value in card.architecture.arguments.items())
    shown = ", ".join(f"{name} {readable(value)}" for name, value in card.preprocess.model_dump(mode="json").items())
    lost = [
        f"{len(names)}, {reason}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for reason, names in report.dropped.items()
    ]
    pairs = [
        ("digest", record.digest),
        ("file", record.file_sha256 or "none"),
        ("read as", report.format + (f", {report.encoder}" if report.encoder else "")),
        ("tensors", f"all {report.matched} of the backbone filled, {report.parameters:,} parameters"),
        ("dropped", "; ".join(lost) or "nothing"),
        ("assumed", "; ".join(report.assumed) or "nothing"),
        ("stated", "; ".join(report.overridden)),
        ("architecture", f"{card.architecture.name} ({card.architecture.family}: {arguments})"),
        ("preprocessing", shown),
        *((name, readable(value)) for name, value in origin.model_dump(mode="json").items() if value is not None),
    ]
    seed = "" if origin.seed is None else f", pretrained with seed {origin.seed}"
    return Facts(f"Weights {record.digest[:12]}{seed}", tuple((name, value) for name, value in pairs if value))


def _environment(record: Record) -> list[tuple[str, str]]:
    parts = []
    for name, value in record.environment.items():
        if name == "command" and isinstance(value, list):
            parts.append((name, shlex.join(map(str, value))))
        elif isinstance(value, dict):
            parts.append(
                (name, ", ".join(f"{key} {readable(each)}" for key, each in value.items() if each is not None))
            )
        else:
            parts.append((name, readable(value)))
    return parts


def _where(group: Sequence[Record]) -> str:
    """How many results were made on what, by which commit."""
    environment = group[0].environment
    machine, packages = environment.get("machine") or {}, environment.get("packages") or {}
    torch = f"torch {packages['torch']}" if "torch" in packages else ""
    commit = f"commit {environment['commit'][:7]}" if environment.get("commit") else ""
    made = [machine.get("gpu") or machine.get("cpu") or "", torch, commit]
    count = "1 result" if len(group) == 1 else f"{len(group)} results"
    return " · ".join(part for part in (count, *made) if part)
