"""torchvision's ResNet and VisionTransformer without their classifiers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

from transferbench import backbones
from transferbench.backbones import Shapes
from transferbench.backbones._resnet_shapes import BLOCKS
from transferbench.checkpoints.targets import Arguments, Kind, Target, _stems, called

RESNET = frozenset({"depth", "groups", "width_per_group"}) | _stems.FREE
VIT = frozenset({"image_size", "patch_size", "dim", "depth", "heads", "mlp_ratio", "norm_eps", "resampling"})


def _resnet_arguments(arguments: Arguments) -> dict[str, Any]:
    given = {name: arguments[name] for name in ("groups", "width_per_group")}
    return {"layers": list(BLOCKS[arguments["depth"]][1]), **given}


def _block(arguments: Arguments) -> type[BasicBlock | Bottleneck]:
    return Bottleneck if BLOCKS[arguments["depth"]][0] == "bottleneck" else BasicBlock


def _resnet(arguments: Arguments) -> Shapes:
    with torch.device("meta"):
        network: Any = ResNet(_block(arguments), **_resnet_arguments(arguments))
        _stems.put(network, _replaced(arguments))
    return backbones.shapes(network.state_dict())


def _resnet_built(arguments: Arguments) -> str:
    given = {"block": _block(arguments).__name__, **_resnet_arguments(arguments)}
    return called("torchvision.models.resnet.ResNet", given) + " with fc = torch.nn.Identity()"


def _replaced(arguments: Arguments) -> dict[str, nn.Module]:
    return {**_stems.replaced(arguments), "fc": nn.Identity()}


def _resnet_lines(arguments: Arguments, file: str) -> Sequence[str]:
    module = "torchvision.models.resnet"
    given = {"block": f"{module}.{_block(arguments).__name__}", **_resnet_arguments(arguments)}
    is_own = not _stems.replaced(arguments)
    return () if is_own else _stems.lines("torchvision", called(f"{module}.ResNet", given), _replaced(arguments), file)


def _resnet_cannot(arguments: Arguments) -> list[str]:
    stem = arguments["stem"]
    return [] if stem in _stems.SINGLE else [f"stem={stem} (only {', '.join(_stems.SINGLE)})"]


def _vit_arguments(arguments: Arguments) -> dict[str, Any]:
    return {
        "image_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "num_layers": arguments["depth"],
        "num_heads": arguments["heads"],
        "hidden_dim": arguments["dim"],
        "mlp_dim": int(arguments["dim"] * arguments["mlp_ratio"]),
    }


def _vit(arguments: Arguments) -> Shapes:
    layer = partial(nn.LayerNorm, eps=arguments["norm_eps"])
    with torch.device("meta"):
        network = VisionTransformer(**_vit_arguments(arguments), norm_layer=layer)
    network.heads = nn.Sequential()
    return backbones.shapes(network.state_dict())


def _vit_built(arguments: Arguments) -> str:
    layer = f"partial(torch.nn.LayerNorm, eps={arguments['norm_eps']})"
    function = "torchvision.models.VisionTransformer"
    return called(function, {**_vit_arguments(arguments), "norm_layer": layer}) + " with heads = torch.nn.Identity()"


TARGET = Target(
    {
        "resnet": Kind(_resnet, _resnet_built, RESNET, cannot=_resnet_cannot, lines=_resnet_lines),
        "vit": Kind(_vit, _vit_built, VIT, "torchvision ViT"),
    }
)
