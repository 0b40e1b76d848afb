"""Our own `backbone.safetensors`: canonical names, and a card that says all a network needs."""

from pathlib import Path

from transferbench import backbones
from transferbench.backbones import FAMILIES, Architecture
from transferbench.checkpoints import Card
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.save import save
from transferbench.checkpoints.targets import Kind, Target


def _kind(family: str) -> Kind:
    return Kind(
        shapes=lambda given: backbones.expected_shapes(Architecture(family=family, arguments=dict(given))),
        built=lambda given: "transferbench.checkpoints.load.load(path).backbone",
        free=frozenset(FAMILIES.load(family).Arguments.model_fields),
    )


def write(path: Path, weights: Weights, card: Card) -> None:
    """The weights with their card in the header."""
    save(path, weights, card)


TARGET = Target(
    {name: _kind(name) for name in FAMILIES.names()},
    (".safetensors",),
    write,
    keeps_card=True,
)
