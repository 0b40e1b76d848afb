"""One line about one thing: a checkpoint that was read, a result that arrived."""

from transferbench.checkpoints import Candidate
from transferbench.errors import summary
from transferbench.records import Record


def loaded(candidate: Candidate) -> str:
    """How a checkpoint was read: format, network, tensors used, what was dropped and why, what was assumed."""
    report = candidate.report
    encoder = f", encoder '{report.encoder}'" if report.encoder else ""
    lines = [
        f"{candidate.name}: {candidate.card.architecture.name}, {report.parameters:,} parameters, "
        f"digest {candidate.digest[:12]}",
        f"  read as {report.format}{encoder}: all {report.matched} tensors of the backbone filled",
    ]
    for reason, names in report.dropped.items():
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        lines.append(f"  dropped {len(names)}, {reason}: {shown}")
    return "\n".join([*lines, *(f"  assumed: {each}" for each in report.assumed)])


def line(record: Record, is_old: bool = False) -> str:
    """One result: who, where, what, the main score or what went wrong, and how long it took."""
    origin = record.card.origin.seed
    who = record.candidate if origin is None else f"{record.candidate} (seed {origin})"
    what = f"{record.label} (seed {record.seed})" if record.seed else record.label
    where = f"{who:24} {record.dataset:12} {what:16}"
    score = record.score(record.primary)
    if record.status == "ok" and score:
        time = "kept from before" if is_old else f"{record.seconds:.1f} s"
        seen = record.seen(score.metric)
        part = "" if seen is None else f" from {seen:,} training images"
        return f"{where} {score.value:8.2f} {score.unit:2} {score.metric}{part} ({time})"
    return f"{where} {record.status}: {summary(record.error or '') or 'no main score'}"
