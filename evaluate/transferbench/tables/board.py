"""What a leaderboard is made of: columns, rows and cells."""

from dataclasses import dataclass, field
from typing import Literal

from transferbench.records import Record
from transferbench.records.published import Published

DECIMALS = 2

Kind = Literal["chance", "control", "published", "candidate"]


@dataclass(frozen=True)
class Column:
    """One protocol on one data set: equal only when every setting and the data are. Merged ones have no hash.

    `split` is the judged one where it is not the data set's own; `images` counts the training images of a task on a
    part of them, for its heading.
    """

    dataset: str
    task: str
    label: str
    metric: str
    unit: str
    higher_is_better: bool
    protocol_sha256: str
    data_sha256: str
    limit: int | None
    split: str | None = None
    images: int | None = None


@dataclass(frozen=True)
class Reference:
    """The published number beside a measured one, and how far the measured one lies above it."""

    number: Published
    difference: float
    band: Literal["within", "above", "below"]


@dataclass(frozen=True)
class Cell:
    """Mean over `n` runs, and their sample standard deviation where there are two or more; n is 0 without runs.

    `mark` names a footnote; `is_ahead` says that a paired test finds the column's best better than its second,
    `is_beaten` that the row's own control, as printed, is better.
    """

    mean: float
    std: float | None
    n: int
    reference: Reference | None = None
    mark: str = ""
    is_ahead: bool = False
    is_beaten: bool = False
    records: tuple[Record, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Ranking:
    """How a candidate does over the columns it has.

    Attributes:
        mean_rank: the mean of its ranks; equal ones share theirs.
        borda: the share of rivals it beats, over all columns; a draw is half.
        average: the mean of its numbers in percent, where it has every such column.
    """

    mean_rank: float
    borda: float
    average: float | None


@dataclass(frozen=True)
class Row:
    """What is judged: checkpoints that differ in nothing but their seed.

    `network` is its architecture and preprocessing, which its own control shares.
    """

    kind: Kind
    name: str
    architecture: str
    cells: dict[Column, Cell]
    method: str = ""
    epochs: int | None = None
    ranking: Ranking | None = None
    network: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """Chance, controls and published rows first, then candidates; `left_out` counts records by why they are.

    `footnotes` explains the marks of cells.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: dict[str, int]
    footnotes: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1.0

    @property
    def candidates(self) -> list[Row]:
        """The rows that compete."""
        return [row for row in self.rows if row.kind == "candidate"]

    def place(self, row: Row, column: Column) -> int | None:
        """1 for the best candidate of a column, 2 for the second; equal as printed is equal. None for the rest."""
        if row.kind != "candidate" or column not in row.cells:
            return None
        rivals = [other.cells[column] for other in self.candidates if column in other.cells]
        printed = sorted({round(cell.mean, DECIMALS) for cell in rivals}, reverse=column.higher_is_better)
        place = printed.index(round(row.cells[column].mean, DECIMALS)) + 1
        return place if place <= 2 and len(rivals) > 1 else None
