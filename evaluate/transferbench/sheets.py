"""What is known of the settings of a task, a suite or a detection recipe, as text in tables that others print."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferbench import settings, suite
from transferbench.detection import recipe as detection
from transferbench.detection.recipe import named
from transferbench.errors import unknown
from transferbench.fields import REQUIRED, SettingRow, rows, shown
from transferbench.plugins import is_outside
from transferbench.registries import TASKS
from transferbench.settings import Settings

if TYPE_CHECKING:
    from transferbench.tasks import Task

HEADS = ("name", "type and range", "default", "meaning")
RESOLVED = ("name", "type and range", "default", "value", "", "meaning")
DIFFERS = "*"
QUICK = "quick"
IMAGES = (
    "Images: RGB of 8 bits a channel as their files hold them; an orientation noted in EXIF is not applied, as in "
    "torchvision's ImageFolder."
)
"""What classification does with the files of a data set."""
MAIN = (
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.MAX_ITER",
    "SOLVER.STEPS",
    "SOLVER.BASE_LR",
    "SOLVER.WEIGHT_DECAY",
    "INPUT.MIN_SIZE_TRAIN",
    "INPUT.MIN_SIZE_TEST",
    "MODEL.MASK_ON",
    "MODEL.RESNETS.NORM",
    "MODEL.BACKBONE.FREEZE_AT",
)
"""Keys of a detection recipe that are shown even where they have Detectron2's default."""


@dataclass(frozen=True)
class SheetTable:
    """A table: what stands above it, the heads of its columns, and its lines."""

    caption: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Sheet:
    """What is known of one name: its title, some text, tables, and commands to begin with."""

    title: str
    text: str
    grids: tuple[SheetTable, ...]
    examples: tuple[str, ...]


def sheet(name: str) -> Sheet:
    """The sheet of a task (also by its import path), a suite or a detection recipe (also by their files).

    Raises:
        UserError: when nothing has this name, or its file does not fit.
    """
    if name.endswith((".yaml", ".yml")):
        written = settings.from_file(Path(name))
        return _of_suite(name) if {"jobs", "extends"} & written.keys() else _of_detection(name)
    known: dict[str, Callable[[str], Sheet]] = {
        **dict.fromkeys(named.names(), _of_detection),
        **dict.fromkeys(suite.names(), _of_suite),
        **dict.fromkeys(TASKS.names(), _of_task),
    }
    if is_outside(name):
        return _of_task(name)
    word = name if name in known else name.replace("-", "_")
    if word not in known:
        raise unknown("task, suite or detection recipe", name, known)
    return known[word](word)


def declared(settings_rows: Sequence[SettingRow], caption: str = "Settings") -> SheetTable:
    """Settings with their defaults."""
    return SheetTable(caption, HEADS, tuple((row.name, row.kind, _default(row), row.meaning) for row in settings_rows))


def resolved(pairs: Sequence[tuple[SettingRow, Any]], caption: str) -> SheetTable:
    """Settings with their defaults and their values, marked where these differ."""
    return SheetTable(caption, RESOLVED, tuple(_resolved(row, value) for row, value in pairs))


def value_at(values: Any, name: str) -> Any:
    """The value under a dotted name in models and mappings."""
    return reduce(
        lambda node, part: node[part] if isinstance(node, Mapping) else getattr(node, part), name.split("."), values
    )


def header(path: Path) -> str:
    """The comment that a file begins with."""
    lines: list[str] = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    return "\n".join(lines)


def example(config: type[Settings]) -> str | None:
    """An override such as `k=5`, of the first number that may have another value too; else one that changes nothing."""
    for row in rows(config):
        default = row.default
        if default in (0, None) or isinstance(default, bool) or not isinstance(default, int | float):
            continue
        value = default // 4 if isinstance(default, int) else default / 2
        try:
            config.model_validate({row.name: value})
        except ValueError:
            continue
        return f"{row.name}={shown(value)}"
    stated = (row for row in rows(config) if row.default not in (REQUIRED, None, ""))
    return next((f"{row.name}={shown(row.default)}" for row in stated), None)


def _of_task(name: str) -> Sheet:
    task: Task = TASKS.load(name)
    from transferbench.tasks import Labeled

    config: type[Settings] = task.Config
    version = (
        f"Version {task.VERSION}; the backbone {'stays frozen' if task.FROZEN else 'is trained too'}; main score: "
    )
    images = "" if isinstance(task, Labeled) and "boxes" in task.LABELS else IMAGES
    paragraphs = (inspect.getdoc(task), inspect.getdoc(config), f"{version}{task.PRIMARY}.", images, _in_quick(name))
    text = "\n".join(filter(None, paragraphs))
    grids = [declared(rows(config))]
    if config.PRESETS:
        lines = tuple(line for each in config.PRESETS for line in _preset(config, each))
        grids.append(SheetTable(f"Presets, for --set {name}.preset=NAME", ("preset", "stands for", "source"), lines))
    sets = [f"{name}.preset={next(iter(config.PRESETS))}"] if config.PRESETS else []
    sets = [*([f"{name}.{first}"] if (first := example(config)) else []), *sets]
    return Sheet(f"Task {name}", text, tuple(grids), tuple(f"evaluate {name} FILE --set {each}" for each in sets))


def _in_quick(name: str) -> str:
    """What the task's jobs in the suite `quick` change of its defaults; empty where they change nothing."""
    changed = [
        f"{job.id}: {differing}"
        for job in suite.load(QUICK).jobs
        if job.task == name and (differing := _differing(job))
    ]
    if not changed:
        return ""
    return (
        f"`evaluate {name} FILE` takes the settings of the data set's suite. Those of `{QUICK}`, which most data sets "
        f"have, are not the defaults: {'; '.join(changed)}."
    )


def _preset(config: type[Settings], name: str) -> list[tuple[str, str, str]]:
    """A line for each set of values that the preset stands for."""
    cases = config.preset_cases(name)
    return [
        (name, _written({**given, **config.preset_values(name, given)}), config.SOURCES.get(name, ""))
        for given in cases
    ]


def _written(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={shown(value)}" for key, value in values.items())


def _of_suite(name: str) -> Sheet:
    loaded = suite.load(name)
    lines = tuple((job.id, job.task, _written(job.settings), _differing(job), _data(job)) for job in loaded.jobs)
    heads = ("job", "task", "settings", "what differs from the task's defaults", "data")
    first = loaded.jobs[0]
    override = example(TASKS.load(first.task).Config)
    call = f"evaluate all FILE --suite {name}"
    commands = [f"{call} --set {first.id}.{override}"] if override else [call]
    text = f"{loaded.summary}\nThe settings of a job are those of its task: `evaluate show TASK`."
    return Sheet(f"Suite {loaded.name}", text, (SheetTable("Jobs", heads, lines),), tuple(commands))


def _differing(job: suite.SuiteEntry) -> str:
    config = job.config()
    usual = {row.name: row.default for row in rows(type(config))}
    return _written(
        {name: value for name, value in config if value != usual[name] and name not in ("recipe_sha256", "preset")}
    )


def _data(job: suite.SuiteEntry) -> str:
    return job.embedded or ", ".join(job.data) or "any"


def _of_detection(name: str) -> Sheet:
    path = named.file_of(name)
    recipe = detection.read(path)
    pairs = [(row, value_at(recipe, row.name)) for row in rows(detection.DetectionRecipe)]
    kept = [(row, value) for row, value in pairs if value != row.default or row.name in MAIN]
    caption = "Keys that differ (*) from Detectron2's defaults, and the main ones"
    call = f"evaluate detect FILE --data coco --set detect.recipe={name}"
    commands = (call, f"{call} --set 'detect.overrides=SOLVER.MAX_ITER 1000'")
    return Sheet(f"Detection recipe {name}", header(path), (resolved(kept, caption),), commands)


def _default(row: SettingRow) -> str:
    return "required" if row.default is REQUIRED else shown(row.default)


def _resolved(row: SettingRow, value: Any) -> tuple[str, ...]:
    differs = row.default is not REQUIRED and shown(value) != shown(row.default)
    return row.name, row.kind, _default(row), shown(value), DIFFERS if differs else "", row.meaning
