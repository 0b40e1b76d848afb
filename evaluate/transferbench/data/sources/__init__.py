"""Data sets, one a file: each offers `open_split(where, split)` and a `HELP` line that says how to get it."""
