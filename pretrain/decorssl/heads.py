"""The networks between backbone and loss."""

from typing import Literal

from pydantic import Field
from torch import nn

from transferbench.settings import Settings


class Projector(Settings):
    """Fully connected layers: Linear-BN-ReLU but for the last, which is Linear alone (docs/methods.md#projectors)."""

    layers: int = Field(3, ge=1, description="fully connected layers, the last one included")
    hidden: int = Field(2048, ge=1, description="channels of every layer but the last")
    hidden_bias: bool = Field(False, description="biases in front of batch normalization too")
    hidden_norm: bool = Field(True, description="batch normalization after every layer but the last")
    activation: Literal["relu", "gelu"] = Field("relu", description="after every layer but the last")
    output: int = Field(2048, ge=1, description="channels of the embedding")
    output_bias: bool = Field(True, description="the last layer has a bias")
    output_norm: Literal["none", "affine", "plain"] = Field(
        "none", description="batch normalization of the embedding; plain has no weights (SimSiam)"
    )
    statistics: Literal["view", "views"] = Field(
        "view", description="whether batch normalization sees one view or all of them at once (CW-RGP's small-set code)"
    )


def projector(width: int, settings: Projector) -> nn.Sequential:
    """The projector for features of `width` channels."""
    stack: list[nn.Module] = []
    for _ in range(settings.layers - 1):
        stack.append(nn.Linear(width, settings.hidden, bias=settings.hidden_bias))
        if settings.hidden_norm:
            stack.append(nn.BatchNorm1d(settings.hidden))
        stack.append(nn.ReLU(inplace=True) if settings.activation == "relu" else nn.GELU())
        width = settings.hidden
    stack.append(nn.Linear(width, settings.output, bias=settings.output_bias))
    if settings.output_norm != "none":
        stack.append(nn.BatchNorm1d(settings.output, affine=settings.output_norm == "affine"))
    return nn.Sequential(*stack)


def predictor(dim: int, hidden: int, bias: bool = True) -> nn.Sequential:
    """Linear-BN-ReLU-Linear from embeddings to embeddings; `bias` is the first layer's (docs/methods.md#projectors)."""
    return nn.Sequential(
        nn.Linear(dim, hidden, bias=bias), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim)
    )
