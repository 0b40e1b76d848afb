"""Every architecture of timm, built by timm itself, in timm's names.

It is imported by what asks it: that takes longer than importing torch.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes, _intermediates
from transferbench.backbones._library import (
    ELSEWHERE,
    LibraryBackbone,
    Undrawn,
    described,
    in_time,
    require_bearable,
    require_plain,
    width,
)
from transferbench.errors import nearest
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

FORBIDDEN = frozenset(
    {
        *("pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay", "features_only"),
        *("scriptable", "exportable", "no_jit"),
        *ELSEWHERE,
    }
)
"""What fetches or reads weights, or makes something else of the network."""
POOLS = {"token": "token", "mean": "avg"}


class Arguments(Settings):
    """What fixes the computation: timm's name of the architecture, and what it is given beside that."""

    name: str = Field(description="a name of `timm.list_models()`, without the tag of its weights")
    arguments: dict[str, Any] = Field({}, description="what timm.create_model takes beside it, such as img_size")
    pooling: Literal["library", "token", "mean"] = Field(
        "library", description="library: as timm pools for its own classifier; the class token; mean over the patches"
    )

    buffers: dict[str, list[float]] = Field(
        {}, description="values that the network works out itself where its source's file holds others: rotary periods"
    )

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in _names():
            raise ValueError(f"timm {version()} has no architecture '{name}'.{nearest(name, sorted(_names()))}")
        return name

    @field_validator("arguments")
    @classmethod
    def _are_plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        require_plain(arguments, FORBIDDEN)
        require_bearable(arguments)
        return {name: value for name, value in arguments.items() if name not in {"num_classes", "global_pool"}}


class TimmBackbone(LibraryBackbone):
    """A network of timm without its classifier."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.num_prefix_tokens = int(getattr(network, "num_prefix_tokens", 0) or 0)
        self.has_class_token = getattr(network, "cls_token", None) is not None
        if _intermediates.offers(network):
            self.tokens = self._tokens

    def _tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Tokens of the last blocks or stages, `b n d`, where timm gives them; see `TokenBackbone`."""
        return _intermediates.tokens(self.network, images, layers, normed)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The last map, `last`, `b c h w`; empty where the network has none."""
        features = cast(Any, self.network).forward_features(images)
        if not isinstance(features, Tensor):
            return {}
        if features.ndim == 4:
            is_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            return {"last": features.permute(0, 3, 1, 2) if is_last else features}
        embed = getattr(self.network, "patch_embed", None)
        size = getattr(embed, "patch_size", None)
        patches = features[:, self.num_prefix_tokens :] if features.ndim == 3 else features
        rows = images.shape[-2] // size[0] if size else 0
        if patches.ndim != 3 or not rows or patches.shape[1] % rows:
            return {}
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, -1))}


def network(arguments: Arguments) -> nn.Module:
    """timm's own module, without its classifier.

    Raises:
        ValueError: when timm does not build it from these arguments.
    """
    import timm

    given = _tupled(arguments.arguments)
    if arguments.pooling != "library":
        given["global_pool"] = POOLS[arguments.pooling]
    try:
        with Undrawn(), in_time():
            return timm.create_model(arguments.name, pretrained=False, num_classes=0, **given)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"timm does not build {arguments.name}: {error}") from None


def build(arguments: Arguments) -> Backbone:
    """The network, with timm's initialization.

    Raises:
        ValueError: when timm does not build it from these arguments.
    """
    made = network(arguments)
    for name, values in arguments.buffers.items():
        _fill(made, name, values)
    backbone = TimmBackbone(made)
    backbone.side = _side(made)
    backbone.width = width(backbone, backbone.side, getattr(made, "head_hidden_size", None))
    return backbone


def _fill(network: nn.Module, name: str, values: list[float]) -> None:
    try:
        buffer = network.get_buffer(name)
    except AttributeError:
        raise ValueError(f"it has no buffer '{name}'") from None
    if name in network.state_dict() or tuple(buffer.shape) != (len(values),):
        raise ValueError(f"its '{name}' has {list(buffer.shape)} values and is no place for {len(values)} of a card")
    with torch.no_grad():
        buffer.copy_(torch.tensor(values, dtype=buffer.dtype, device=buffer.device))


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: names and shapes lead to timm's networks by an index of all of them."""
    return []


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    full = Arguments.model_validate(dict(arguments))
    means = {
        "library": "as timm pools them for its classifier",
        "token": "the class token",
        "mean": "the patches' mean",
    }
    return [f"computed by timm's own {full.name}; features are {means[full.pooling]}"]


def describe(arguments: Mapping[str, Any]) -> str:
    """timm's name, with what it was given beside it."""
    return described(str(arguments["name"]), dict(arguments.get("arguments", {})), arguments)


def from_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Arguments from a `config.json` of timm's; None of another library's.

    Raises:
        LookupError: when it is timm's and not whole.
    """
    if "architecture" not in config or "pretrained_cfg" not in config:
        return None
    if str(config["architecture"]) not in _names():
        return {}
    given = {name: value for name, value in dict(config.get("model_args") or {}).items() if name not in FORBIDDEN}
    pooling = {"token": "token", "avg": "mean"}.get(str(config.get("global_pool")), "library")
    arguments = {"name": str(config["architecture"]), "arguments": given}
    with torch.device("meta"):
        usual = getattr(network(Arguments.model_validate(arguments)), "global_pool", None)
    return arguments if usual == POOLS.get(pooling) else {**arguments, "pooling": pooling}


def own_arguments(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What our own family has to be told to compute what such a network does; nothing where it does not."""
    with torch.device("meta"):
        return untold(network(Arguments.model_validate(dict(arguments))))


def untold(built: nn.Module) -> tuple[str, ...]:
    """What the tensors of a network of timm's do not tell our own ViT, as `NAME=VALUE`."""
    from timm.models import VisionTransformer

    if not isinstance(built, VisionTransformer):
        return ()
    vit: Any = built
    pooling = {"token": "token", "avg": "mean"}.get(built.global_pool)
    eps = vit.fc_norm.eps if isinstance(vit.fc_norm, nn.LayerNorm) else vit.norm.eps
    heads = vit.blocks[0].attn.num_heads
    return (f"heads={heads}", f"norm_eps={eps}", *([f"pooling={pooling}"] if pooling else []))


def side(arguments: Mapping[str, Any]) -> int:
    """Of the images that the network is made for, pixels: as it is told, else of its default weights."""
    told = dict(arguments.get("arguments") or {}).get("img_size")
    if told is not None:
        return int(told[-1] if isinstance(told, list | tuple) else told)
    import timm

    config = timm.get_pretrained_cfg(str(arguments["name"]))
    return int(config.input_size[-1]) if config else 224


def version() -> str:
    """timm's version."""
    import timm

    return timm.__version__


def names() -> list[str]:
    """Every architecture."""
    import timm

    return list(timm.list_models())


@cache
def _names() -> frozenset[str]:
    return frozenset(names())


def _side(network: nn.Module) -> int:
    """The side of the images it is made for."""
    embed = getattr(network, "patch_embed", None)
    size = getattr(embed, "img_size", None) or getattr(network, "default_cfg", {}).get("input_size", (3, 224, 224))
    return int(size[-1])


def _tupled(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Lists, which a file has for tuples, as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
