"""From numbers to places on a drawing, and the round numbers that stand beside an axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

AIM = 6
"""About how many ticks an axis has."""
MARGIN = 0.08
"""The part of an axis left free at each end."""


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high` on `length` pixels: `is_log` by powers of ten, `is_whole` with ticks at integers."""

    low: float
    high: float
    length: float
    is_log: bool = False
    is_whole: bool = False

    @classmethod
    def around(cls, values: Sequence[float], length: float, is_log: bool = False, is_whole: bool = False) -> "Scale":
        """The scale on which all values stand with some room around; 0 to 1 without any."""
        places = [math.log10(value) for value in values] if is_log else list(values)
        low, high = (min(places), max(places)) if places else (0.0, 1.0)
        room = (high - low) * MARGIN or max(abs(high) * MARGIN, MARGIN)
        return cls(low - room, high + room, length, is_log, is_whole)

    def place(self, value: float) -> float:
        """Where a value stands, in pixels from the low end."""
        number = math.log10(value) if self.is_log else value
        return (number - self.low) / (self.high - self.low) * self.length

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of round numbers."""
        step = (self.high - self.low) / AIM
        step = max(1, round(step)) if self.is_log else nice(max(step, 1.0) if self.is_whole else step)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [i * step for i in range(first, last + 1)]
        texts = [f"1e{value:g}" if self.is_log else f"{value:.6g}" for value in values]
        return [
            ((value - self.low) / (self.high - self.low) * self.length, text)
            for value, text in zip(values, texts, strict=True)
        ]


def nice(step: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is no smaller than the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= step * (1 - 1e-9))
