"""The error that a user can fix, and suggestions for misspelled names."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can fix.

    The message says what was found, what was expected and what to do. Command lines print it bare and exit with 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'knn'?"` when a known word is near, else the empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{match[0]}'?" if match else ""


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of names."""
    names = sorted(known)
    return UserError(f"Unknown {kind} '{word}'.{nearest(word, names)} Known: {', '.join(names) or 'none'}.")
