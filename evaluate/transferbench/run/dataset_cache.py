"""The data sets of a call: each opened once, and what is said where one cannot be."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from transferbench.data import LabeledImages, looked_at, open_split
from transferbench.data.dataset import Dataset, open_dataset
from transferbench.data.live import LabeledSplits
from transferbench.data.subsets import limited
from transferbench.errors import UserError, error_text, summary
from transferbench.plugins import is_outside

LIMIT_SEED = 0
"""One for all jobs, so that they share cached features."""


class DatasetCache:
    """The data sets of one call, each opened once.

    `split` is the judged one, by default each data set's own; `image_range` what is black and white in images of more
    than 8 bits a channel; `live` holds those that were handed over, by their names.
    """

    def __init__(
        self,
        root: Path,
        split: str | None = None,
        image_range: Sequence[int | float] | None = None,
        live: Mapping[str, LabeledSplits] | None = None,
    ) -> None:
        self.root, self.split, self.image_range, self.live = root, split, image_range, live or {}
        self._opened: dict[tuple[str, int | None], Dataset] = {}
        self._broken: dict[tuple[str, int | None], tuple[Exception, TracebackType | None]] = {}

    def take(self, data: str, limit: int | None = None) -> Dataset:
        """Both splits a protocol uses, cut to `limit` images each. What cannot be opened raises the same every time.

        Raises:
            UserError: when the data set is not here, saying how to get it, or is refused, saying why.
        """
        key = (data, limit)
        if key not in self._opened and key not in self._broken:
            try:
                self._opened[key] = self._open(data, limit)
            except Exception as error:
                self._broken[key] = error, error.__traceback__
        if key in self._broken:
            error, trace = self._broken[key]
            raise error.with_traceback(trace)
        return self._opened[key]

    def is_here(self, data: str) -> bool:
        """Whether there is a file or folder of that name, whatever is in it."""
        path = Path(data).expanduser()
        if data in self.live:
            return True
        if is_outside(data):
            return (self.root / (path.stem if path.suffix == ".py" else data)).exists()
        return path.exists() if "/" in data or path.suffix == ".zip" else (self.root / data).exists()

    def metric(self, data: str) -> str | None:
        """What a data set is reported in; None where it is not here or cannot be opened."""
        try:
            return self.take(data).train.info.metric
        except Exception:
            return None

    def notes(self) -> list[str]:
        """What has to be known of the data sets that are open, each once."""
        return list(dict.fromkeys(note for each in self._opened.values() for note in each.notes))

    def common_side(self, data: Sequence[str]) -> int | None:
        """The side that the images of all these data sets have that can be opened; None where they have no one side.

        Raises:
            UserError: with the reason of each, when none can be opened.
        """
        sides: set[int | None] = set()
        reasons: list[str] = []
        for name in data:
            try:
                sides.add(self.take(name).train.info.image_size)
            except Exception as error:
                reasons.append(f"{name} cannot be opened: {summary(error_text(error))}")
        if not sides:
            raise UserError("\n".join(reasons))
        return sides.pop() if len(sides) == 1 else None

    def require_some(self, data: Sequence[str]) -> None:
        """Open data sets; one that does not open is told in the records of its jobs, as long as one is here.

        Raises:
            UserError: with the reason of each, when all are missing or refused.
        """
        refused: list[str] = []
        for name in data:
            try:
                self.take(name)
            except UserError as error:
                refused.append(str(error))
            except Exception:
                continue
        if len(refused) == len(data):
            raise UserError("\n".join(refused) or "Name at least one data set.")

    def _open(self, data: str, limit: int | None) -> Dataset:
        if limit is not None:
            whole = self.take(data)
            return Dataset(limited(whole.train, limit, LIMIT_SEED), limited(whole.test, limit, LIMIT_SEED))

        def opened(split: str) -> LabeledImages:
            live = self.live.get(data)
            images = live.open_split(split) if live else open_split(data, split, self.root)
            return looked_at(images.ranged(self.image_range))

        return open_dataset(opened, self.split)
