"""`python -m transferbench`: the `evaluate` command, for launchers that start modules."""

from transferbench.cli import main

main()
