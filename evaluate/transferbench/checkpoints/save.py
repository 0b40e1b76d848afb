"""Write our own checkpoint: `backbone.safetensors` with its Card in the header."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from transferbench import state
from transferbench.checkpoints import Card, digest

HEADER = "transferbench"
DIGEST = "digest"


def save(path: Path, weights: Mapping[str, Tensor], card: Card) -> str:
    """Write the weights, in canonical names, with their card; returns their digest."""
    identity = digest(weights)
    state.save_tensors(path, weights, {HEADER: card.model_dump_json(), DIGEST: identity})
    return identity
