"""`python -m decorssl`: the `pretrain` command, for torchrun and srun."""

from decorssl.cli import main

main()
