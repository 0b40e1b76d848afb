"""Convolutional networks in their sources' own names: loaded with the features of timm's networks, or refused.

The names are spelled here by hand from timm's network, the other way round than `checkpoints/naming/`.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sources import Source, State, check_features, drawn, network, read, spelled, wrongly_loaded
from torch import nn
from torchvision.models import regnet_y_400mf

from transferbench.errors import UserError


def convnext(name: str = "convnext_tiny", **more: Any) -> Any:
    width = 88 if name == "convnextv2_tiny" else 8  # of narrow ConvNeXt-V2s timm's have convolutions for linear layers
    return network(name, depths=(1, 1, 2, 1), dims=tuple(width << stage for stage in range(4)), **more)


def unnormed(made: Any) -> Any:
    """The last norm as it is before any training, which pretraining files do not hold."""
    nn.init.ones_(made.head.norm.weight)
    nn.init.zeros_(made.head.norm.bias)
    return made


def original_names(made: Any) -> State:
    state = spelled(
        dict(made.state_dict()),
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"\.blocks\.", "."),
        (r"\.mlp\.fc", ".pwconv"),
        (r"\.mlp\.grn\.weight", ".grn.gamma"),
        (r"\.mlp\.grn\.bias", ".grn.beta"),
        ("conv_dw", "dwconv"),
        (r"^head\.norm\.", "norm."),
    )
    for name, tensor in state.items():
        if ".grn." in name:
            state[name] = tensor[None, None, None]
        elif ".pwconv" in name and tensor.ndim == 4:
            state[name] = tensor[:, :, 0, 0]
    return state


def sparse_names(made: Any) -> State:
    """MinkowskiEngine's modules: kernels by place, column by column, and everything with an axis more or a level."""
    state: State = {}
    for name, tensor in original_names(made).items():
        base, last = name.rsplit(".", 1)
        is_depthwise, is_down = "dwconv" in name, base.startswith("downsample_layers") and base.endswith("1")
        if name.startswith("downsample_layers.0."):
            state[name] = tensor
        elif last == "weight" and is_depthwise:
            state[f"{base}.kernel"] = tensor[:, 0].transpose(1, 2).flatten(1).T
        elif last == "weight" and is_down:
            state[f"{base}.kernel"] = tensor.transpose(2, 3).flatten(2).permute(2, 1, 0)
        elif is_depthwise or is_down:
            state[name] = tensor[None]
        elif ".grn." in name:
            state[name] = tensor.reshape(1, -1)
        elif not name.startswith("norm."):
            state[f"{base}.{'linear' if 'pwconv' in name else 'ln'}.{last}"] = tensor
    return {f"encoder.{name}": tensor.clone() for name, tensor in state.items()}


DECODER = {
    "proj.weight": torch.ones(8, 64, 1, 1),
    "decoder.0.dwconv.weight": torch.ones(8, 1, 7, 7),
    "decoder.0.grn.gamma": torch.ones(1, 1, 1, 32),
    "pred.bias": torch.ones(9),
    "mask_token": torch.ones(1, 8, 1, 1),
}
SPARK = {
    "dense_decoder.dec.0.up_sample.weight": torch.ones(3, 3, 2, 2),
    "densify_norms.0.weight": torch.ones(64),
    "densify_projs.0.weight": torch.ones(2, 2, 3, 3),
    "mask_tokens.0": torch.ones(1, 64, 1, 1),
    "imn_m": torch.zeros(1, 3, 1, 1),
    "norm_black": torch.zeros(1, 3, 64, 64),
}


def fcmae(name: str) -> tuple[nn.Module, Any]:
    made = convnext(name)
    return made, {"model": original_names(made)}


def fcmae_training(name: str) -> tuple[nn.Module, Any]:
    made = unnormed(convnext(name))
    return made, {"model": {**sparse_names(made), **DECODER}, "epoch": 3}


def dinov3_teacher() -> tuple[nn.Module, Any]:
    made = convnext()
    state = original_names(made)
    state |= {f"norms.3.{part}": state[f"norm.{part}"].clone() for part in ("weight", "bias")}
    head = {"dino_head.mlp.0.weight": torch.ones(3, 64), "dino_head.last_layer.weight": torch.ones(3, 3)}
    return made, {"teacher": {**{f"backbone.{name}": tensor for name, tensor in state.items()}, **head}}


def dinov3_saved(prefix: str) -> tuple[nn.Module, Any]:
    made = convnext()
    state = spelled(
        dict(made.state_dict()),
        (r"^stem\.", "stages.0.downsample_layers."),
        (r"\.downsample\.", ".downsample_layers."),
        (r"\.blocks\.", ".layers."),
        (r"\.norm\.", ".layer_norm."),
        ("conv_dw", "depthwise_conv"),
        (r"mlp\.fc", "pointwise_conv"),
        (r"^head\.layer_norm\.", "layer_norm."),
        (r"^stages", prefix + "stages"),
    )
    return made, state


def spark(is_training: bool) -> tuple[nn.Module, Any]:
    made = unnormed(convnext())
    state = {name: tensor for name, tensor in original_names(made).items() if not name.startswith("norm.")}
    below = {f"sparse_encoder.sp_cnn.{name}": tensor for name, tensor in state.items()}
    return made, {"module": {**below, **SPARK}, "is_pretrain": True} if is_training else state


def saved(made: Any) -> tuple[nn.Module, Any]:
    return made, dict(made.state_dict())


def regnet() -> Any:
    return network("regnety_004")


def vissl_names(made: Any) -> State:
    state = spelled(
        dict(made.state_dict()),
        (r"^stem\.conv\.", "conv1.stem.0."),
        (r"^stem\.bn\.", "conv1.stem.1."),
        (r"conv1\.conv\.", "f.a.0."),
        (r"conv1\.bn\.", "f.a.1."),
        (r"conv2\.conv\.", "f.b.0."),
        (r"conv2\.bn\.", "f.b.1."),
        (r"conv3\.conv\.", "f.c."),
        (r"conv3\.bn\.", "f.final_bn."),
        (r"se\.fc1\.", "f.se.excitation.0."),
        (r"se\.fc2\.", "f.se.excitation.2."),
        (r"downsample\.conv\.", "proj."),
        (r"downsample\.bn\.", "bn."),
    )
    block = re.compile(r"s(\d)\.b(\d+)\.")
    return {
        "_feature_blocks." + block.sub(lambda m: f"res{int(m[1]) + 1}.block{m[1]}-{int(m[2]) - 1}.", name): tensor
        for name, tensor in state.items()
    }


def seer() -> tuple[nn.Module, Any]:
    made = regnet()
    heads = {"0.projection_head.0.weight": torch.ones(4, 440), "0.prototypes0.weight": torch.ones(5, 4)}
    return made, {"classy_state_dict": {"base_model": {"model": {"trunk": vissl_names(made), "heads": heads}}}}


def moco() -> tuple[nn.Module, Any]:
    """MoCo's wrapper of torchvision's RegNet."""
    made = drawn(regnet_y_400mf())
    made.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    online = {f"module.encoder_q.{name}": tensor for name, tensor in made.state_dict().items()}
    other = {name.replace("encoder_q", "encoder_k"): tensor + 1 for name, tensor in online.items()}
    return made, {"state_dict": {**online, **other, "module.queue": torch.ones(128, 9)}, "arch": "regnet_y_400mf"}


SOURCES = {
    "fcmae": Source(lambda: fcmae("convnextv2_tiny"), "convnext", "convnextv2_tiny", 64),
    "fcmae with narrow stages": Source(lambda: fcmae("convnextv2_nano"), "convnext", "convnextv2_nano", 64),
    "fcmae training": Source(lambda: fcmae_training("convnextv2_nano"), "convnext", "convnextv2_nano", 64),
    "dinov3 teacher": Source(dinov3_teacher, "convnext", "convnext_tiny", 64),
    "dinov3 transformers": Source(lambda: dinov3_saved(""), "convnext", "convnext_tiny", 64),
    "dinov3 transformers in memory": Source(lambda: dinov3_saved("model."), "convnext", "convnext_tiny", 64),
    "spark": Source(lambda: spark(False), "convnext", "convnext_tiny", 64),
    "spark training": Source(lambda: spark(True), "spark", "convnext_tiny", 64),
    "seer": Source(seer, "vissl", "regnety_004", 64),
    "moco": Source(moco, "moco", "regnet_y_400mf", 64),
    "timm": Source(lambda: saved(convnext(kernel_sizes=5)), "unknown", "convnext_tiny", 64),
}


LARGE = ("seer", "moco", "fcmae")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow if each in LARGE else []) for each in SOURCES]
)
def test_features_are_those_of_the_source(name: str, tmp_path: Path) -> None:
    check_features(SOURCES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_no_changed_file_loads(name: str) -> None:
    assert wrongly_loaded(SOURCES[name].made()[1]) == []


def test_a_last_norm_that_is_not_in_the_file_is_told() -> None:
    assert any("without the last norm" in line for line in read(spark(False)[1]).report.assumed)
    assert not any("without the last norm" in line for line in read(fcmae("convnextv2_nano")[1]).report.assumed)


def test_half_of_the_last_norm_is_refused() -> None:
    _, tree = fcmae("convnextv2_nano")
    del tree["model"]["norm.bias"]
    with pytest.raises(UserError, match=r"missing head\.norm\.bias"):
        read(tree)
