"""What a call runs: a suite of jobs, every setting of which is checked before the first job starts."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import Field

from transferbench.addressing import addressed, unreachable
from transferbench.errors import UserError, unknown
from transferbench.origins import SettingsSource
from transferbench.plugins import beside, is_outside
from transferbench.registries import SOURCES, TASKS
from transferbench.settings import Settings, from_file, merged, read

if TYPE_CHECKING:
    from transferbench.features.spec import FeatureSpec

FOLDER = Path(__file__).parent / "suites"


class SuiteEntry(Settings):
    """One job of a suite."""

    task: str = Field(description="a task's name, or its import path")
    id: str = Field(default="", description="the job's name for --set; by default the task's name")
    settings: dict[str, Any] = Field(default={}, description="what differs from the task's defaults")
    data: tuple[str, ...] = Field(default=(), description="the data sets this job is for; any when none is named")
    embedded: str | None = Field(
        default=None, description="an embedded data set that the job runs on, once, in place of the data asked for"
    )
    _origin: SettingsSource = pydantic.PrivateAttr(default=SettingsSource())

    @pydantic.model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "task" not in values:
            return values
        name = str(values["task"])
        own = name if is_outside(name) else name.replace("-", "_")
        return {"id": Path(name).stem if name.endswith(".py") else name, **values, "task": own}

    def answers_to(self, name: str) -> bool:
        """Whether `name` is this job's id or task (`-` and `_` are the same here)."""
        return name.replace("-", "_") in (self.id.replace("-", "_"), self.task.replace("-", "_"))

    def is_among(self, only: Collection[str], skip: Collection[str]) -> bool:
        """Whether this job is one of those named, all where none is, and none of those to skip."""
        return (not only or any(map(self.answers_to, only))) and not any(map(self.answers_to, skip))

    def changed(self, overrides: Iterable[str]) -> "SuiteEntry":
        """This job with those of the overrides that reach it (`JOB.KEY=VALUE`) laid over its settings.

        A preset takes the place of what the job states of its own of the preset's settings.
        """
        mine = self._reached(overrides)
        asked, stated = merged({}, mine), self.settings
        if "preset" in asked:
            values = TASKS.load(self.task).Config.preset_stated({**stated, **asked})
            stated = {key: value for key, value in stated.items() if key not in values}
        return self.model_copy(update={"settings": merged(stated, mine)})

    def config(self, overrides: Iterable[str] = ()) -> Settings:
        """The task's settings for this job. Raises UserError with all that do not fit."""
        mine = tuple(self._reached(overrides))
        origin = replace(self._origin, overrides=mine)
        return read(TASKS.load(self.task).Config, self.changed(overrides).settings, origin=origin)

    def rest(self, override: str) -> str | None:
        """The override without this job's id or task in front; None where it begins otherwise."""
        key, equals, value = override.partition("=")
        for name in (self.id, self.task):
            if key.replace("-", "_").startswith(f"{name.replace('-', '_')}."):
                return f"{key[len(name) + 1 :]}{equals}{value}"
        return None

    def reading(self, features: Mapping[str, Any]) -> "SuiteEntry":
        """This job with these settings of the features it reads, as far as it has them; itself where it reads none."""
        task = TASKS.load(self.task)
        mine = {name: value for name, value in features.items() if name in task.Config.model_fields}
        return self.model_copy(update={"settings": {**self.settings, **mine}}) if task.FROZEN and mine else self

    def lacking(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the settings of features, other than by default, that this job reads some without."""
        from transferbench.features.spec import FeatureSpec

        task = TASKS.load(self.task)
        usual = {name: field.get_default() for name, field in FeatureSpec.model_fields.items()}
        asked = {name: value for name, value in features.items() if name not in usual or value != usual[name]}
        known = task.Config.model_fields
        return {name: value for name, value in asked.items() if name not in known} if task.FROZEN else {}

    def _reached(self, overrides: Iterable[str]) -> list[str]:
        """Those of the overrides that reach this job, without its name."""
        return [rest for override in overrides if (rest := self.rest(override)) is not None]


class Suite(Settings):
    """Jobs in the order they run, cheapest first."""

    name: str = Field(description="name of the suite; by default the file's name")
    summary: str = Field("", description="one line for lists")
    for_data: tuple[str, ...] = Field((), description="data sets whose default is this suite")
    for_metric: str | None = Field(None, description="it is also the default of data sets reported in this metric")
    extends: str | None = Field(None, description="a suite whose jobs come first")
    overrides: tuple[str, ...] = Field((), description="what to change in the extended suite's jobs, as with --set")
    jobs: tuple[SuiteEntry, ...] = Field((), description="tasks with their settings, cheapest first")

    @property
    def data(self) -> tuple[str, ...]:
        """The data sets that its jobs name: what it runs on when none is asked for."""
        return tuple(dict.fromkeys(name for entry in self.jobs for name in entry.data))

    def on(self, data: str) -> "Suite":
        """The jobs for these data: for images of one's own, none that a suite of the package runs on embedded ones."""
        if data.replace("-", "_") in SOURCES.names() or self.name not in names():
            return self
        kept = tuple(entry for entry in self.jobs if not entry.embedded)
        return self.model_copy(update={"jobs": kept or self.jobs})

    def only(self, name: str) -> "Suite":
        """The jobs of one task, as this suite states them; the task's own defaults where it has none."""
        kept = tuple(entry for entry in self.jobs if entry.answers_to(name))
        return self.model_copy(update={"jobs": kept or (SuiteEntry(task=name),)})


def chosen(
    of: Mapping[str, Suite], only: Collection[str] = (), skip: Collection[str] = (), is_asked_for: bool = False
) -> dict[str, Suite]:
    """The suite of each data set with the jobs of these names only (ids or tasks), and without those to skip.

    Where no names are given and the jobs are not `is_asked_for` otherwise, those that do not fit the data are left out.

    Raises:
        UserError: for a name that no job has, or when no job is left.
    """
    known = sorted({name for suite in of.values() for entry in suite.jobs for name in (entry.id, entry.task)})
    for name in (*only, *skip):
        if not any(entry.answers_to(name) for suite in of.values() for entry in suite.jobs):
            raise unknown("job", name, known)
    fitting = of if only or is_asked_for else {data: suite.on(data) for data, suite in of.items()}
    kept = {
        data: suite.model_copy(update={"jobs": tuple(entry for entry in suite.jobs if entry.is_among(only, skip))})
        for data, suite in fitting.items()
    }
    if not any(suite.jobs for suite in kept.values()):
        raise UserError(f"No job is left. Jobs: {', '.join(known)}.")
    return {data: suite for data, suite in kept.items() if suite.jobs}


def reading(of: Mapping[str, Suite], features: "FeatureSpec | Mapping[str, Any] | None") -> dict[str, Suite]:
    """The suite of each data set, with these settings of features for all jobs that read some of a frozen backbone.

    Raises:
        UserError: when they are no settings of features, or a job that reads features has none of the name.
    """
    if features is None:
        return dict(of)
    from transferbench.features.spec import FeatureSpec

    try:
        spec = features if isinstance(features, FeatureSpec) else read(FeatureSpec, features)
    except UserError as error:
        raise UserError(f"features: {error}") from None
    asked = spec.model_dump(include=None if spec is features else spec.model_fields_set)
    entries = {entry.id: entry for suite in of.values() for entry in suite.jobs}
    if lacking := {name: found for name, entry in entries.items() if (found := entry.lacking(asked))}:
        told = "; ".join(f"{name} has no {', '.join(found)}" for name, found in lacking.items())
        having = ", ".join(
            name for name, entry in entries.items() if entry.reading(asked) != entry and name not in lacking
        )
        raise UserError(
            f"Not all jobs that read features can read these: {told}. Expected a suite, or a task, of jobs that have "
            f"all of these settings{f', as {having}' if having else ''}."
        )
    return {
        data: suite.model_copy(update={"jobs": tuple(entry.reading(asked) for entry in suite.jobs)})
        for data, suite in of.items()
    }


@dataclass(frozen=True)
class Job:
    """One task on one data set with one seed; `limit` is how many images a smoke run keeps of each split."""

    id: str
    task: str
    data: str
    config: Settings
    seed: int
    limit: int | None = None


def names() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str | Path) -> Suite:
    """A suite by its name, or from a YAML file.

    Raises:
        UserError: when there is no such suite, or with every misfit of the file.
    """
    return _loaded(name, ())


def _loaded(name: str | Path, above: tuple[Path, ...]) -> Suite:
    """The suite, which the files `above` extend."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in names():
            raise unknown("suite", str(name), names())
        path = FOLDER / f"{name}.yaml"
    if path.resolve() in above:
        raise UserError(f"The suite {path} extends itself, directly or through others. Expected a chain that ends.")
    suite = read(Suite, {"name": path.stem, **from_file(path)}, origin=SettingsSource((path,)))
    beside_it = [each.model_copy(update={"task": beside(each.task, path.parent)}) for each in suite.jobs]
    suite = suite.model_copy(update={"jobs": tuple(beside_it)})
    for i, entry in enumerate(suite.jobs):
        entry._origin = SettingsSource((path,), under=("jobs", i, "settings"))
    inherited = _extended(suite.extends, path, above).jobs if suite.extends else ()
    overrides = addressed(suite.overrides, inherited)
    misfits = [line for override in overrides for line in unreachable(override, inherited)]
    jobs = tuple(entry.changed(overrides) for entry in inherited) + suite.jobs
    ids = [entry.id for entry in jobs]
    misfits += [f"{len(ids)} jobs need different ids, found: {', '.join(ids)}."] if len(set(ids)) < len(ids) else []
    misfits += [] if jobs else ["A suite lists at least one job: `jobs: [{task: knn}]`."]
    if misfits:
        raise UserError("\n".join([f"{path}:", *misfits]))
    return suite.model_copy(update={"jobs": jobs})


def _extended(name: str, path: Path, above: tuple[Path, ...]) -> Suite:
    try:
        return _loaded(name, (*above, path.resolve()))
    except UserError as error:
        raise UserError(f"{path}, extends: {error}") from None


def suite_for(data: str, metric: Callable[[], str | None] = lambda: None) -> Suite:
    """The suite of a data set when none is asked for: one that is for it, else for its metric, else `quick`.

    `metric` is what it is reported in; it is asked only where no suite is for the data set.
    """
    known = [load(name) for name in names()]
    fitting = [suite for suite in known if data in suite.for_data]
    if not fitting and (reported := metric()):
        fitting = [suite for suite in known if suite.for_metric == reported]
    return fitting[0] if fitting else load("quick")


def plan(
    suites: Mapping[str, Suite], overrides: Sequence[str] = (), seeds: Sequence[int] = (0,), limit: int | None = None
) -> list[Job]:
    """Every job on every data set, in the order they run.

    Args:
        suites: the suite of each data set.
        overrides: `JOB.KEY=VALUE`; JOB is a job's id, or a task for all its jobs. `KEY=VALUE` where there is one job.
        seeds: each job runs once with each.
        limit: how many images to keep of each split; None keeps all.

    Raises:
        UserError: with every setting of every job that does not fit.
    """
    entries = [entry for suite in suites.values() for entry in suite.jobs]
    overrides = addressed(overrides, entries)
    misfits = [line for override in overrides for line in unreachable(override, entries)]
    jobs: list[Job] = []
    for data, suite in suites.items():
        fitting = [entry for entry in suite.jobs if not entry.data or data in entry.data]
        if not fitting:
            misfits.append(f"The suite {suite.name} has no job for {data}. It is for {', '.join(suite.data)}.")
        for entry in fitting:
            try:
                config = entry.config(overrides)
            except UserError as error:
                misfits.append(f"{entry.id}: {error}")
                continue
            planned = [Job(entry.id, entry.task, entry.embedded or data, config, seed, limit) for seed in seeds]
            jobs += [job for job in planned if not entry.embedded or job not in jobs]
    if misfits:
        raise UserError("\n".join(dict.fromkeys(misfits)))
    return jobs
