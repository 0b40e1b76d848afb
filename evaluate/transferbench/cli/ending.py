"""How a command ends: a person's mistake is a sentence and exit code 2, whatever its names are written in."""

import sys
from collections.abc import Callable
from io import TextIOWrapper

from transferbench.cli import printing
from transferbench.errors import UserError, of_a_path, of_disk


def run(command: Callable[[], None]) -> None:
    """Run a command line; what a person can mend is printed without a traceback, with exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what no encoding has
    try:
        command()
    except (UserError, OSError, RuntimeError) as error:
        known = error if isinstance(error, UserError) else of_disk(error) or of_a_path(error)
        if known is None:
            raise
        printing.say(known, file=sys.stderr)
        sys.exit(2)
