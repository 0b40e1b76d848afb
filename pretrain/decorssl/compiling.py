"""The encoder compiled by `torch.compile`, where that can be done here."""

from collections.abc import Callable
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from decorssl.passes import Network, Prepare, unchanged_buffers
from transferbench.errors import unknown

Mode = Literal["off", "default", "reduce-overhead", "max-autotune"]
"""Those of torch; `reduce-overhead` and `max-autotune` record CUDA graphs on a GPU."""
MODES = get_args(Mode)

Say = Callable[[str], None]

APART = 0.1
"""Of the outputs' norm: beyond what rounding makes of them, so that machine code which differs more is not used."""


class CompiledNetwork:
    """A network that is compiled, forward and backward, when its first batch comes; where that fails it stays as it is.

    What it gives differs from what the network gives by rounding.
    """

    def __init__(self, network: nn.Module, mode: Mode, say: Say) -> None:
        self.network, self.mode, self.say = network, mode, say
        self._compiled: Network | None = None

    def __call__(self, views: list[Tensor]) -> list[Tensor]:
        """What the network gives for `views`."""
        if self._compiled is None:
            self._compiled = self._tried(views)
        torch.compiler.cudagraph_mark_step_begin()
        # A CUDA graph writes its next outputs where these are.
        return [z.clone() for z in self._compiled(views)]

    def _tried(self, views: list[Tensor]) -> Network:
        """The compiled network after a step that leaves nothing behind; the network itself if that fails."""
        compiled: Network = torch.compile(self.network, mode=self.mode)
        self.say(f"Compiling the network ({self.mode}), which takes a minute or more.")
        try:
            with unchanged_buffers(self.network), torch.enable_grad():
                outputs = compiled(views)
                torch.stack([z.float().sum() for z in outputs]).sum().backward()
                self._require_same(views, outputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            self.say(f"torch.compile failed here, so the network runs uncompiled: {reason}")
            return self.network
        finally:
            self.network.zero_grad(set_to_none=True)
        return compiled

    @torch.no_grad()
    def _require_same(self, views: list[Tensor], outputs: list[Tensor]) -> None:
        """Machine code may compute something else in silence (docs/pretraining.md#speed).

        A network that differs from itself, since it draws random numbers, cannot be asked.
        """
        plain = self.network(views)
        apart = _apart(outputs, plain)
        if not apart <= APART and _apart(self.network(views), plain) <= APART:
            raise RuntimeError(f"machine code gives other outputs, {apart:.0%} of their norm off; empty its cache")


def _apart(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest norm of a difference over that of the other; NaN where something is no number."""
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(one, other, strict=True)]
    return torch.stack([(a - b).norm() / b.norm() for a, b in pairs]).max().item()


def prepare(mode: Mode, say: Say) -> Prepare:
    """A function that prepares a network for its first batch; `off` leaves it as it is."""
    return (lambda network: network) if mode == "off" else (lambda network: CompiledNetwork(network, mode, say))


def mode(name: str) -> Mode:
    """The mode of that name.

    Raises:
        UserError: when there is none.
    """
    if name not in MODES:
        raise unknown("way to compile", name, MODES)
    return cast(Mode, name)
