"""Another backbone with one affine map behind it, which whitens its features: what `pretrain` learns with `whitening`.

The network's tensors lie below `network.`, so that code which knows nothing of the map finds none of them, and no word
in the map's names is one of those by which a file's other tensors are left out.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import FAMILIES, Architecture, Backbone, OutputBackbone, Shapes, Tensors, TokenBackbone
from transferbench.settings import Settings

__all__ = [
    "Arguments",
    "Whitened",
    "WhitenedTokens",
    "assumptions",
    "build",
    "describe",
    "propose",
    "side",
    "tensors",
    "whitens",
]

NAME = "whitened"
BELOW = "network."
MEAN, MATRIX = "output_mean", "output_matrix"


class Arguments(Settings):
    """The network, and whether its features are whitened."""

    network: Architecture = Field(description="the network in front of the map")
    whitening: bool = Field(True, description="false: its features as they are in front of the map")

    @field_validator("network")
    @classmethod
    def _is_complete(cls, network: Architecture) -> Architecture:
        if network.family == NAME:
            raise ValueError(f"a {NAME} backbone has one map behind it and not two")
        return backbones.complete(network)


class Whitened(Backbone):
    """(f(images) - mean) matrix^T, with f the network; what is in front of its output stays as it is."""

    output_mean: Tensor
    output_matrix: Tensor

    def __init__(self, network: Backbone, whitening: bool = True) -> None:
        super().__init__()
        self.network, self.whitening, self.width = network, whitening, network.width
        self.may_be_empty = frozenset(BELOW + name for name in network.may_be_empty)
        self.num_prefix_tokens = int(getattr(network, "num_prefix_tokens", 0))
        self.has_class_token = bool(getattr(network, "has_class_token", True))
        self.register_buffer(MEAN, torch.zeros(network.width))
        self.register_buffer(MATRIX, torch.eye(network.width))

    def forward(self, images: Tensor) -> Tensor:
        """Whitened features, `b d`, in float32 whatever the autocast."""
        features = self.network(images)
        if not self.whitening:
            return features
        with torch.autocast(features.device.type, enabled=False):
            return (features.to(self.output_mean.dtype) - self.output_mean) @ self.output_matrix.mT

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The network's feature maps."""
        return self.network.stages(images)

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """The network's further outputs; none where it has none."""
        return self.network.outputs(images) if isinstance(self.network, OutputBackbone) else {}


class WhitenedTokens(Whitened):
    """Behind a network that gives tokens."""

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """The network's tokens."""
        assert isinstance(self.network, TokenBackbone)
        return self.network.tokens(images, layers, normed)


def behind(network: Backbone, mean: Tensor, matrix: Tensor) -> Whitened:
    """A network, its weights shared, with a map behind it: copies of `mean`, `d`, and `matrix`, `d d`."""
    made = _around(network, True)
    made.to(mean.device)
    made.output_mean, made.output_matrix = mean.detach().clone(), matrix.detach().clone()
    made.architecture = backbones.complete(
        Architecture(family=NAME, arguments={"network": network.architecture.model_dump(mode="json")})
    )
    return made


def whitens(architecture: Architecture) -> bool:
    """Whether such a network, once trained, gives whitened features; a random one has the map that changes nothing."""
    return architecture.family == NAME and architecture.arguments.get("whitening", True)


def build(arguments: Arguments) -> Whitened:
    """The network with torch's initial weights, and the map that changes nothing."""
    family = FAMILIES.registered(arguments.network.family)
    network = family.build(family.Arguments.model_validate(arguments.network.arguments))
    network.architecture = arguments.network
    return _around(network, arguments.whitening)


def _around(network: Backbone, whitening: bool) -> Whitened:
    return (WhitenedTokens if isinstance(network, TokenBackbone) else Whitened)(network, whitening)


def tensors(arguments: Arguments) -> Tensors:
    """The network's tensors and the map's, without building either."""
    width = backbones.width(arguments.network)
    own = {BELOW + name: shape for name, shape in backbones.expected_shapes(arguments.network).items()}
    return Tensors({**own, MEAN: (width,), MATRIX: (width, width)}, width)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: such a network is known by the card in its file, and without one the file is refused."""
    return []


def side(arguments: Mapping[str, Any]) -> int:
    """That of the network."""
    return backbones.side(_network(arguments))


def describe(arguments: Mapping[str, Any]) -> str:
    """The network's name: `resnet18-cifar-whitened`, `resnet18-cifar-unwhitened`."""
    return f"{_network(arguments).name}-{'whitened' if arguments.get('whitening', True) else 'unwhitened'}"


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """Those of the network."""
    return backbones.assumptions(_network(arguments))


def _network(arguments: Mapping[str, Any]) -> Architecture:
    return Architecture.model_validate(arguments["network"])
