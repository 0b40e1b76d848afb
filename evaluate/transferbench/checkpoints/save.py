"""Write our own checkpoint: `backbone.safetensors` with its Card in the header."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from transferbench import state
from transferbench.checkpoints import Card, digest

HEADER = "transferbench"


def save(path: Path, weights: Mapping[str, Tensor], card: Card) -> str:
    """Write the weights, in canonical names, with their card; returns their digest."""
    identity = digest(weights)
    header = {"card": card.model_dump(mode="json"), "digest": identity}
    state.save_tensors(path, weights, (HEADER, json.dumps(header, sort_keys=True)))
    return identity


def stated_digest(header: Mapping[str, str]) -> str | None:
    """The digest a file was written with, from its header; None where it states none."""
    stated = json.loads(header[HEADER]) if HEADER in header else {}
    return stated.get("digest") if isinstance(stated, dict) else None
