"""How a command ends: a person's mistake is a sentence and exit code 2, whatever its names are written in."""

import sys
from collections.abc import Callable
from io import TextIOWrapper

from transferbench.errors import UserError, of_a_path


def run(command: Callable[[], None]) -> None:
    """Run a command line; what a person can mend is printed without a traceback, with exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what no encoding has
    try:
        command()
    except UserError as error:
        _end(str(error))
    except (OSError, RuntimeError) as error:
        told = of_a_path(error)
        if told is None:
            raise
        _end(told)


def _end(text: str) -> None:
    print(text, file=sys.stderr)
    sys.exit(2)
