"""The networks between backbone and loss."""

from pydantic import Field
from torch import nn

from transferbench.settings import Settings


class Projector(Settings):
    """Fully connected layers: Linear-BN-ReLU but for the last, which is Linear alone (spec 1.1 "Projector", [code])."""

    layers: int = Field(3, ge=1)
    hidden: int = Field(2048, ge=1)
    hidden_bias: bool = Field(False, description="biases in front of batch normalisation too")
    output: int = Field(2048, ge=1, description="channels of the embedding")


def projector(width: int, settings: Projector) -> nn.Sequential:
    """The projector for features of `width` channels."""
    stack: list[nn.Module] = []
    for _ in range(settings.layers - 1):
        stack += [
            nn.Linear(width, settings.hidden, bias=settings.hidden_bias),
            nn.BatchNorm1d(settings.hidden),
            nn.ReLU(inplace=True),
        ]
        width = settings.hidden
    return nn.Sequential(*stack, nn.Linear(width, settings.output))
