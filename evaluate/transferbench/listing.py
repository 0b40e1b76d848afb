"""What there is to choose from, found without importing it; and what is known of a checkpoint."""

from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from transferbench.errors import UserError, unknown
from transferbench.plugins import Registry
from transferbench.registries import FAMILIES, FORMATS, LIBRARIES, SOURCES, TARGETS, TASKS

if TYPE_CHECKING:
    from transferbench.checkpoints.first_conv_stats import FirstConvStats
    from transferbench.checkpoints.inspect import Inspection
    from transferbench.records.published import Published

ROOMS = {
    "tasks": TASKS,
    "formats": FORMATS,
    "libraries": LIBRARIES,
    "targets": TARGETS,
    "data": SOURCES,
    "backbones": FAMILIES,
}

FEW = 6
"""Names, or prefixes of names, that one line holds."""
Listing = list[tuple[str, str]]
"""Names, each with one line about it."""


def listings() -> dict[str, Callable[[], Listing]]:
    """Everything that can be listed, by what it is called."""
    rooms = {kind: lambda registry=registry: _plugins(registry) for kind, registry in ROOMS.items()}
    return {**rooms, "suites": _suites}


def _plugins(registry: Registry) -> Listing:
    return [(name, registry.summary(name)) for name in registry.names()]


def _suites() -> Listing:
    from transferbench import suite

    return [
        (each.name, f"{each.summary}: {', '.join(job.id for job in each.jobs)}")
        for each in map(suite.load, suite.names())
    ]


def facts(inspection: "Inspection", has_all_names: bool = False) -> dict[str, str]:
    """An inspection in words, without what does not apply; of many tensors left out their prefixes, or all names."""
    origin = inspection.origin.model_dump(exclude_none=True)
    preprocess = inspection.preprocess.model_dump()
    said = {
        "file": f"{inspection.path} ({inspection.size_mb:.1f} MB, {inspection.container})",
        "format": inspection.format,
        "encoder": inspection.encoder,
        "encoders": ", ".join(f"{label} ({place})" for label, place in inspection.encoders.items()),
        "architecture": f"{inspection.architecture_name}, {inspection.parameters:,} parameters, "
        f"{inspection.width} features",
        "preprocess": ", ".join(f"{name} {value}" for name, value in preprocess.items()),
        "first conv": _filters(inspection.filters) if inspection.filters else "",
        "digest": inspection.digest,
        "sha256": inspection.file_sha256 or "",
        "origin": ", ".join(f"{name} {value}" for name, value in origin.items()),
        **{
            f"dropped, {reason}": ", ".join(names if has_all_names else _by_prefix(names))
            for reason, names in inspection.report.dropped.items()
        },
        "warning": "; ".join(inspection.warnings),
        "assumed": "; ".join(inspection.report.assumed),
        "overridden": "; ".join(inspection.report.overridden),
        "also there": ", ".join(f"{name}: {value}" for name, value in inspection.others.items()),
        "not executed": ", ".join(inspection.inert),
    }
    return {name: text for name, text in said.items() if text}


def _by_prefix(names: list[str]) -> list[str]:
    """A few names as they are, and many counted by what they begin with."""
    if len(names) <= FEW:
        return names
    counts = Counter(".".join(name.split(".")[:-1][:2]) or name for name in names)
    shown = [f"{prefix}.* ({count})" if count > 1 else prefix for prefix, count in counts.most_common(FEW)]
    return [*shown, *([f"{len(counts) - FEW} more prefixes (--keys names all)"] if len(counts) > FEW else [])]


def published(method: str = "*", data: str = "*", task: str = "*") -> list[str]:
    """The published numbers of a method, data set and task, one a line; the unverified ones apart.

    Raises:
        UserError: when none fits, with what there is.
    """
    from transferbench.records.published import numbers

    wanted = {"method": method, "dataset": data, "task": task}
    for name, pattern in wanted.items():
        known = {getattr(number, name) for number in numbers()}
        if not any(fnmatchcase(each, pattern) for each in known):
            raise unknown(name, pattern, sorted(known))
    chosen = [n for n in numbers() if all(fnmatchcase(getattr(n, name), pattern) for name, pattern in wanted.items())]
    if not chosen:
        raise UserError(f"No published number is known for method {method}, data set {data} and task {task}.")
    rows = [("method", "network", "pretrained", "judged on", "value", "source"), *map(_published, chosen)]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return ["  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[5]]) for row in rows]


def _published(number: "Published") -> tuple[str, ...]:
    spread = f" ± {number.std:g}" if number.std is not None else ""
    settings = ",".join(f"{name}={value}" for name, value in number.settings)
    doubts = (number.note, number.status if number.status != "verified" else "")
    return (
        " ".join(filter(None, (number.method, number.variant))),
        number.arch,
        f"{number.pretrain_data}, {number.epochs or '?'} epochs" if number.pretrain_data else "not",
        f"{number.dataset} {number.task} {settings}".strip(),
        f"{number.value:g}{spread} {number.metric}",
        "; ".join(filter(None, (number.source, *doubts))),
    )


def _filters(stats: "FirstConvStats") -> str:
    """Filters beside random ones."""
    return (
        f"neighboring weights correlate {stats.correlation:.2f} (random init 0.00 ± {stats.random_deviation:.2f}), "
        f"effective rank {stats.rank:.1f} of {stats.full_rank} (random init {stats.random_rank:.1f})"
    )
