"""timm's ResNet, VisionTransformer and SwinTransformer without their classifiers."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from timm.layers.mlp import SwiGLUPacked
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from transferbench import backbones
from transferbench.backbones import Architecture, Shapes
from transferbench.backbones._resnet_shapes import BLOCKS
from transferbench.checkpoints.targets import Arguments, Kind, Target, _stems, called

RESNET = frozenset({"depth", "groups", "width_per_group", "avg_down"}) | _stems.FREE
SPELLED: dict[Any, str] = {SwiGLUPacked: "timm.layers.mlp.SwiGLUPacked", nn.SiLU: "torch.nn.SiLU"}


def _all_but(family: str, fixed: str) -> frozenset[str]:
    return frozenset(backbones.complete(Architecture(family=family, arguments={})).arguments) - {fixed}


def _resnet_arguments(arguments: Arguments) -> dict[str, Any]:
    stem = {"stem_type": "deep", "stem_width": 32} if arguments["stem"] == "deep" else {}
    return {
        "layers": BLOCKS[arguments["depth"]][1],
        "num_classes": 0,
        "cardinality": arguments["groups"],
        "base_width": arguments["width_per_group"],
        "avg_down": arguments["avg_down"],
        **stem,
    }


def _block(arguments: Arguments) -> type[BasicBlock | Bottleneck]:
    return Bottleneck if BLOCKS[arguments["depth"]][0] == "bottleneck" else BasicBlock


def _resnet(arguments: Arguments) -> Shapes:
    with torch.device("meta"):
        network = ResNet(cast(Any, _block(arguments)), **_resnet_arguments(arguments))
        _stems.put(network, _stems.replaced(arguments))
        return backbones.shapes(network.state_dict())


def _resnet_built(arguments: Arguments) -> str:
    return called("timm.models.resnet.ResNet", {"block": _block(arguments).__name__, **_resnet_arguments(arguments)})


def _resnet_lines(arguments: Arguments, file: str) -> Sequence[str]:
    module, modules = "timm.models.resnet", _stems.replaced(arguments)
    given = {"block": f"{module}.{_block(arguments).__name__}", **_resnet_arguments(arguments)}
    return _stems.lines("timm", called(f"{module}.ResNet", given), modules, file) if modules else ()


def _vit_arguments(arguments: Arguments) -> dict[str, Any]:
    swiglu = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU} if arguments["mlp"] == "swiglu" else {}
    return {
        "img_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "num_classes": 0,
        "global_pool": "token" if arguments["pooling"] == "token" else "avg",
        "embed_dim": arguments["dim"],
        "depth": arguments["depth"],
        "num_heads": arguments["heads"],
        "mlp_ratio": arguments["mlp_ratio"],
        "qkv_bias": arguments["qkv_bias"],
        "init_values": 1.0 if arguments["layer_scale"] else None,
        "class_token": arguments["class_token"],
        "reg_tokens": arguments["registers"],
        "no_embed_class": not arguments["position_for_prefix"],
        "fc_norm": arguments["norm_pooled"],
        **swiglu,
    }


def _vit(arguments: Arguments) -> Shapes:
    layer = cast(Any, partial(nn.LayerNorm, eps=arguments["norm_eps"]))
    with torch.device("meta"):
        return backbones.shapes(VisionTransformer(**_vit_arguments(arguments), norm_layer=layer).state_dict())


def _vit_built(arguments: Arguments) -> str:
    given = {name: SPELLED.get(value, repr(value)) for name, value in _vit_arguments(arguments).items()}
    layer = f"partial(torch.nn.LayerNorm, eps={arguments['norm_eps']})"
    return called("timm.models.vision_transformer.VisionTransformer", {**given, "norm_layer": layer})


def _vit_cannot(arguments: Arguments) -> list[str]:
    has_prefix = arguments["class_token"] or arguments["registers"]
    return ["pooling=mean_all (only token or mean)"] if has_prefix and arguments["pooling"] == "mean_all" else []


def _swin_arguments(arguments: Arguments) -> dict[str, Any]:
    return {
        "img_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "num_classes": 0,
        "embed_dim": arguments["dim"],
        "depths": tuple(arguments["depths"]),
        "num_heads": tuple(arguments["heads"]),
        "window_size": arguments["window"],
        "mlp_ratio": arguments["mlp_ratio"],
        "qkv_bias": arguments["qkv_bias"],
    }


def _swin(arguments: Arguments) -> Shapes:
    with torch.device("meta"):
        return backbones.shapes(SwinTransformer(**_swin_arguments(arguments)).state_dict())


def _swin_built(arguments: Arguments) -> str:
    return called("timm.models.swin_transformer.SwinTransformer", _swin_arguments(arguments))


TARGET = Target(
    {
        "resnet": Kind(_resnet, _resnet_built, RESNET, lines=_resnet_lines),
        "vit": Kind(_vit, _vit_built, _all_but("vit", "conv_stem"), cannot=_vit_cannot),
        "swin": Kind(_swin, _swin_built, _all_but("swin", "norm_eps")),
    }
)
