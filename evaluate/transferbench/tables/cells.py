"""Text from records as cells of CSV: a name must not become a formula of whoever opens the table."""

from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How cells begin that spreadsheets compute."""
QUOTE = "'"
"""In front of a cell, it says that the cell is text."""


def cell(value: Any) -> Any:
    """The value; text that would be taken for a formula has a quote in front. Numbers stay numbers."""
    if not isinstance(value, str):
        return value
    return QUOTE + value if value.startswith(FORMULA) and not _is_number(value) else value


def csv(table: pd.DataFrame) -> str:
    """The table as CSV, every cell and heading as `cell` gives it."""
    safe = table.map(cell)
    safe.columns = [cell(name) for name in table.columns]
    return safe.to_csv(index=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
