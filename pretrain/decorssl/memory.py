"""The latest embeddings of past steps."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize


class Queue(nn.Module):
    """The last `length` rows pushed, as a buffer that is saved with the run.

    It starts with random directions; `pushed` says how many rows are real.
    """

    rows: Float[Tensor, "length d"]
    pushed: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))
        self._was_full = False

    @property
    def full(self) -> bool:
        """Whether no random row is left."""
        if not self._was_full:  # once it is, the device need not be asked again
            self._was_full = int(self.pushed) >= len(self.rows)
        return self._was_full

    def push(self, rows: Float[Tensor, "n d"]) -> None:
        """Put rows in the place of the oldest."""
        kept = rows[-len(self.rows) :]
        place = (self.pushed + torch.arange(len(kept), device=kept.device)) % len(self.rows)
        self.rows[place] = kept.to(self.rows.dtype)
        self.pushed += len(kept)
