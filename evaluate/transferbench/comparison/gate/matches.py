"""Which of the new results belong to which of the baseline."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from transferbench.comparison.experiments import Compared, compared
from transferbench.records import Record
from transferbench.records.subjects import is_control, network, subject, words_apart

Group = list[Record]
"""The finished results of one subject in one experiment."""


def grouped(results: Iterable[Record]) -> dict[Compared, list[Group]]:
    """The finished results by what may be compared, and there by subject."""
    groups: dict[Compared, dict[str, Group]] = defaultdict(lambda: defaultdict(list))
    for record in results:
        if record.status == "ok" and record.score(record.primary):
            groups[compared(record)][subject(record)].append(record)
    return {key: list(each.values()) for key, each in groups.items()}


def recipe(record: Record) -> tuple[str, str]:
    """The method and recipe that made the weights; of unknown ones, what none else has."""
    origin = record.card.origin
    return (str(origin.method), origin.recipe) if origin.recipe else ("digest", record.digest)


WAYS: tuple[Callable[[Record], object], ...] = (
    subject,
    lambda record: (recipe(record), record.card.architecture.name),
    lambda record: (record.candidate, network(record.card)),
    lambda record: (record.candidate, record.card.architecture.name),
)
"""By what a group is known again, the surest first: its name or the recipe, of one architecture."""


def matches(baseline: Sequence[Group], new: Sequence[Group]) -> dict[int, Group | str]:
    """For groups of the baseline, by their `id`, the new results that belong to them, or why that cannot be told.

    Groups belong together where a way fits one that is left on either side; those with nothing like them have no entry.
    """
    belonging: dict[int, Group | str] = {}
    old, left = list(baseline), list(new)
    for way in WAYS:
        for group in list(old):
            mine, theirs = ([each for each in side if way(each[0]) == way(group[0])] for side in (old, left))
            if len(mine) == len(theirs) == 1:
                belonging[id(group)] = theirs[0]
                old.remove(group)
                left.remove(theirs[0])
    for group in old:
        fitting = [each for each in left if any(way(each[0]) == way(group[0]) for way in WAYS)]
        if fitting:
            belonging[id(group)] = f"it cannot be told which of these it is: {', '.join(_called(fitting))}. {CURE}"
    return belonging


CURE = "Give each a name of its own: NAME=FILE"


def _called(groups: Sequence[Group]) -> list[str]:
    return [f"{each[0].candidate}@{word}" for each, word in zip(groups, words_apart(groups), strict=True)]


def alike(old: Group, new: Group) -> tuple[Group, Group]:
    """Both, of a control only the random networks that both have: others are no news of what was trained."""
    shared = {record.digest for record in old} & {record.digest for record in new}
    if not (shared and is_control(old[0])):
        return old, new
    first, second = ([record for record in group if record.digest in shared] for group in (old, new))
    return first, second


def names_apart(groups: Sequence[Group]) -> dict[int, str]:
    """What each group is called, by its `id`: the candidate's name, with a word behind it where several share it."""
    alike: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        alike[group[0].candidate].append(group)
    return {
        id(group): f"{name}@{word}" if len(each) > 1 else name
        for name, each in alike.items()
        for group, word in zip(each, words_apart(each), strict=True)
    }
