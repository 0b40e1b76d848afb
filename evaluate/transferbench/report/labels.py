"""Where words beside points go, so that they cover neither each other nor the points."""

from collections.abc import Sequence
from dataclasses import dataclass

GLYPH = 6.6
"""The mean width of a letter at the size that charts use, in pixels."""
LINE = 12.0
APART = 7.0
ROUNDS = 100
"""Of moving words apart: enough for a dozen in one place."""


@dataclass(frozen=True)
class Word:
    """A text and where its middle stands, on the baseline."""

    text: str
    x: float
    y: float


Box = tuple[float, float, float, float]


def beside(points: Sequence[tuple[float, float, str]], width: float, height: float) -> list[Word]:
    """A place for the text of each point (x, y, text): right, left, above or below it, where it covers least."""
    dots: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in points]
    placed: list[Box] = []
    words = []
    for x, y, text in points:
        half = len(text) * GLYPH / 2
        sides = [
            (x + APART + half, y + 4),
            (x - APART - half, y + 4),
            (x, y - APART - 2),
            (x, y + APART + LINE - 2),
            (x + APART + half, y - APART),
            (x + APART + half, y + APART + LINE / 2),
            (x - APART - half, y - APART),
            (x - APART - half, y + APART + LINE / 2),
        ]
        boxes = [(a - half, b - LINE + 3, a + half, b + 3) for a, b in sides]
        costs = [_cost(box, dots, placed, (width, height)) for box in boxes]
        best = costs.index(min(costs))
        placed.append(boxes[best])
        words.append(Word(text, *sides[best]))
    return words


def _cost(box: Box, dots: Sequence[Box], words: Sequence[Box], size: tuple[float, float]) -> float:
    """How bad a place is: a covered point is worse than a covered word, and that worse than to stick out."""
    covered = 9 * sum(_shared(box, dot) for dot in dots) + 3 * sum(_shared(box, word) for word in words)
    return covered + (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, (0.0, 0.0, *size))


def apart(words: Sequence[Word]) -> list[Word]:
    """The words, those that touch moved up and down from each other, in the order in which they stood."""
    order = sorted(words, key=lambda each: each.y)
    ys = [word.y for word in order]
    near = [(i, j) for j in range(len(order)) for i in range(j) if _overlap(order[i], order[j])]
    for _ in range(ROUNDS):
        for i, j in near:
            move = max(0.0, LINE - 1 - (ys[j] - ys[i])) / 2
            ys[i], ys[j] = ys[i] - move, ys[j] + move
    return [Word(word.text, word.x, y) for word, y in zip(order, ys, strict=True)]


def _overlap(one: Word, other: Word) -> bool:
    """Whether two words would touch on one line."""
    return abs(one.x - other.x) < (len(one.text) + len(other.text)) * GLYPH / 2


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)
