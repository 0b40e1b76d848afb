"""What the tests of losses share."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def context() -> Callable[..., Any]:
    """`context(config, modules, step=...)`: what a loss sees in one process, by default at the first of one step."""
    import torch

    from decorssl.methods import Context

    def build(config: Any, modules: Any = None, **place: int) -> Context:
        where = {"step": 0, "total_steps": 1, "epoch": 0, "epochs": 1} | place
        generator = torch.Generator().manual_seed(0)
        return Context(
            config, **where, generator=generator, gather=lambda z: z, modules=modules or torch.nn.ModuleDict()
        )

    return build
