"""Vision transformers as their authors save them, beside those of test_vit_sources.py: same features, or refused.

The names are spelled here by hand from timm's network, the other way round than `checkpoints/naming/`; CAPI's features
are numbers that its authors' code gave.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sources import Source, State, check_features, drawn, network, pair, read, spelled, wrongly_loaded
from torch import nn

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints.load import load
from transferbench.errors import UserError


def xcit_names(made: Any) -> State:
    state = spelled(dict(made.state_dict()), (r"^pos_embed\.", "pos_embeder."))
    for block in range(2):
        for part in ("weight", "bias"):
            base = f"cls_attn_blocks.{block}.attn."
            state[f"{base}qkv.{part}"] = torch.cat([state.pop(f"{base}{letter}.{part}") for letter in "qkv"])
    return state


def dino_xcit() -> tuple[nn.Module, Any]:
    made = network("xcit_nano_12_p16_224")
    head = {"head.mlp.0.weight": torch.ones(3, 3), "head.last_layer.weight_g": torch.ones(3, 1)}
    teacher = {**{f"backbone.{name}": tensor for name, tensor in xcit_names(made).items()}, **head}
    student = {f"module.{name}": tensor + 1 for name, tensor in teacher.items()}
    return made, {"teacher": teacher, "student": student, "epoch": 3}


def hiera() -> tuple[nn.Module, Any]:
    made = network("hiera_tiny_224")
    head = {"head.projection.weight": torch.ones(10, 768), "head.projection.bias": torch.ones(10)}
    return made, {"model_state": {**spelled(dict(made.state_dict()), (r"^head\.norm\.", "norm.")), **head}}


def aimv2_names(made: Any) -> State:
    return spelled(
        dict(made.state_dict()),
        (r"^patch_embed\.", "preprocessor.patchifier."),
        (r"^pos_embed", "preprocessor.pos_embed"),
        (r"^norm\.", "trunk.post_trunk_norm."),
        (r"^blocks\.", "trunk.blocks."),
        (r"\.norm(\d)", r".norm_\1"),
        ("fc1_g", "fc1"),
        ("fc1_x", "fc3"),
    )


def aimv2() -> nn.Module:
    return network("aimv2_large_patch14_224", depth=1, embed_dim=128, num_heads=1, img_size=56)


def aimv2_lit() -> tuple[nn.Module, Any]:
    made = aimv2()
    text = {"text_encoder.trunk.blocks.0.norm_1.weight": torch.ones(8), "log_logit_scale": torch.ones(())}
    beside = {"image_projector.weight": torch.ones(8, 128), "image_encoder.head.linear.weight": torch.ones(9, 128)}
    return made, {**{f"image_encoder.{name}": t for name, t in aimv2_names(made).items()}, **text, **beside}


def pe_names(made: Any) -> State:
    state = spelled(
        dict(made.state_dict()),
        (r"^norm\.", "ln_post."),
        ("norm_pre", "ln_pre"),
        (r"patch_embed\.proj", "conv1"),
        (r"^attn_pool\.proj", "attn_pool.attn.out_proj"),
        (r"^attn_pool\.norm", "attn_pool.layernorm"),
        (r"^attn_pool\.latent", "attn_pool.probe"),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.gamma_(\d)", r".ls_\1.gamma"),
        (r"\.norm(\d)", r".ln_\1"),
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"\.attn\.proj", ".attn.out_proj"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
    )
    for part in ("weight", "bias") if "attn_pool.q.weight" in state else ():
        joined = torch.cat([state.pop(f"attn_pool.{name}.{part}") for name in ("q", "kv")])
        state[f"attn_pool.attn.in_proj_{part}"] = joined
    return {
        **{name: tensor for name, tensor in state.items() if name not in {"cls_token", "pos_embed"}},
        "class_embedding": state["cls_token"][0, 0],
        "positional_embedding": state["pos_embed"][0],
    }


def pe_core() -> tuple[nn.Module, Any]:
    made = network("vit_pe_core_tiny_patch16_384")
    visual = {f"visual.{name}": tensor for name, tensor in {**pe_names(made), "proj": torch.ones(192, 8)}.items()}
    text = {"positional_embedding": torch.ones(8, 64), "token_embedding.weight": torch.ones(9, 64)}
    return made, {**visual, **text, "transformer.resblocks.0.ln_1.weight": torch.ones(64)}


def big_vision_names(made: Any) -> State:
    """JAX's kernels have the inputs first, and heads as an axis."""
    names, heads = {}, made.blocks[0].attn.num_heads

    def put(name: str, weight: torch.Tensor, bias: torch.Tensor, shape: tuple[int, ...] = ()) -> None:
        names[f"{name}.kernel"] = weight.T.reshape(*weight.T.shape[: 0 if len(shape) == 3 else 1], *shape)
        names[f"{name}.bias"] = bias.reshape(shape) if len(shape) == 2 else bias

    def attend(name: str, layers: list[tuple[torch.Tensor, torch.Tensor]], out: Any) -> None:
        split = (heads, len(out.bias) // heads)
        for part, (weight, bias) in zip(("query", "key", "value"), layers, strict=True):
            put(f"{name}.{part}", weight, bias, split)
        put(f"{name}.out", out.weight, out.bias, (*split, len(out.bias)))

    def rest(base: str, numbers: tuple[int, ...], norms: list[Any], mlp: Any) -> None:
        for number, norm in zip(numbers, norms, strict=True):
            names[f"{base}LayerNorm_{number}.scale"], names[f"{base}LayerNorm_{number}.bias"] = norm.weight, norm.bias
        for number, layer in enumerate((mlp.fc1, mlp.fc2)):
            names[f"{base}MlpBlock_0.Dense_{number}.kernel"] = layer.weight.T
            names[f"{base}MlpBlock_0.Dense_{number}.bias"] = layer.bias

    names["embedding.kernel"] = made.patch_embed.proj.weight.permute(2, 3, 1, 0)
    names["embedding.bias"], names["pos_embedding"] = made.patch_embed.proj.bias, made.pos_embed
    for number, block in enumerate(made.blocks):
        base, qkv = f"Transformer.encoderblock_{number}.", block.attn.qkv
        layers = list(zip(qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True))
        attend(f"{base}MultiHeadDotProductAttention_0", layers, block.attn.proj)
        rest(base, (0, 1), [block.norm1, block.norm2], block.mlp)
    names["Transformer.encoder_norm.scale"], names["Transformer.encoder_norm.bias"] = made.norm.weight, made.norm.bias
    pool = made.attn_pool
    layers = [(pool.q.weight, pool.q.bias), *zip(pool.kv.weight.chunk(2), pool.kv.bias.chunk(2), strict=True)]
    attend("MAPHead_0.MultiHeadDotProductAttention_0", layers, pool.proj)
    rest("MAPHead_0.", (0,), [pool.norm], pool.mlp)
    return {name: tensor.detach().clone() for name, tensor in {**names, "MAPHead_0.probe": pool.latent}.items()}


def siglip() -> tuple[nn.Module, Any]:
    size = {"depth": 2, "embed_dim": 64, "num_heads": 2, "img_size": 64}
    made = network("vit_base_patch16_siglip_224", act_layer="gelu_tanh", **size)
    text = {
        "params.txt.Encoder_0.LayerNorm_0.scale": torch.ones(5),
        "params.t": torch.ones(1),
        "params.b": torch.ones(1),
    }
    return made, {**{f"params.img.{name}": tensor for name, tensor in big_vision_names(made).items()}, **text}


SOURCES = {
    "xcit": Source(lambda: pair(network("xcit_nano_12_p16_224"), xcit_names), "xcit", "xcit_nano_12_p16_224"),
    "dino xcit": Source(dino_xcit, "dino", "xcit_nano_12_p16_224"),
    "hiera": Source(hiera, "hiera", "hiera_tiny_224"),
    "aimv2": Source(lambda: pair(aimv2(), aimv2_names), "aimv2", "aimv2_large_patch14_224", 56),
    "aimv2 lit": Source(aimv2_lit, "aimv2", "aimv2_large_patch14_224", 56),
    "pe core": Source(pe_core, "pe", "vit_pe_core_tiny_patch16_384", 384),
    "pe spatial": Source(
        lambda: pair(network("vit_pe_spatial_tiny_patch16_512"), pe_names), "pe", "vit_pe_spatial_tiny_patch16_512", 512
    ),
    "siglip": Source(siglip, "big_vision", "vit_base_patch16_siglip_224", 64),
}
SMALL = ("aimv2", "aimv2 lit", "siglip")
SIZED = [pytest.param(name, marks=[] if name in SMALL else pytest.mark.slow) for name in SOURCES]


@pytest.mark.parametrize("name", SIZED)
def test_features_are_those_of_the_source(name: str, tmp_path: Path) -> None:
    check_features(SOURCES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_no_changed_file_loads(name: str) -> None:
    assert wrongly_loaded(SOURCES[name].made()[1]) == []


@pytest.mark.slow
def test_no_changed_capi_loads_whatever_tensor() -> None:
    assert wrongly_loaded(capi()) == []


def capi() -> State:
    """A tiny CAPI in its authors' names, its values drawn in the order of their names."""
    generator, state, block = torch.Generator().manual_seed(3), {}, {"proj": 2, "q_proj": 2, "k_proj": 2, "v_proj": 2}

    def draw(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 1)

    draw("mask_token", 1, 16)
    draw("registers", 1, 4, 16)
    for part, number in (("encoder", 0), ("encoder", 1), ("decoder", 0), ("decoder", 1)):
        base = f"{part}.blocks.{number}.residual"
        draw(f"{base}1.norm.weight", 16)
        for name in block:
            draw(f"{base}1.fn.{name}.weight", 16, 16)
        draw(f"{base}1.fn.rope.freqs", 2, 8)
        draw(f"{base}2.norm.weight", 16)
        draw(f"{base}2.fn.fc1.weight", 64, 16)
        draw(f"{base}2.fn.fc2.weight", 16, 64)
    draw("patch_embed.weight", 16, 3, 14, 14)
    draw("patch_embed.bias", 16)
    return state


IMAGE = torch.sin(torch.arange(3 * 28 * 42).reshape(1, 3, 28, 42) / 7)
OF_THE_AUTHORS = (
    -1.0727867,
    0.0908119,
    -1.5415188,
    -0.8878596,
    0.4532807,
    1.0937921,
    1.2479173,
    -0.6721261,
    0.0770638,
    -0.3478133,
    -0.2977956,
    -0.1443061,
    -0.1779217,
    -0.7919157,
    2.0286281,
    -1.7317233,
)
"""Features of IMAGE that `EncoderDecoder` of facebookresearch/capi 98b4fa1 gives with these values (two heads)."""


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_capi_gives_what_its_authors_code_gives(prefix: str, tmp_path: Path) -> None:
    head = {"head.last_layer.weight_v": torch.ones(5, 16)} if prefix else {}
    torch.save({**{prefix + name: tensor for name, tensor in capi().items()}, **head}, tmp_path / "a.pth")
    candidate = load(tmp_path / "a.pth")
    assert (candidate.report.format, candidate.card.architecture.family) == ("capi", "capi")
    with torch.no_grad():
        found = candidate.backbone(IMAGE)[0]
    expected = torch.tensor(OF_THE_AUTHORS)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_no_changed_capi_loads() -> None:
    assert wrongly_loaded(capi(), ["mask_token", "encoder.blocks.1.residual1.fn.rope.freqs"]) == []


def test_the_two_class_tokens_of_tips(tmp_path: Path) -> None:
    arguments = {"dim": 64, "heads": 1, "depth": 2, "patch_size": 14, "image_size": 56, "layer_scale": True}
    made = backbones.build(
        Architecture(family="vit", arguments={**arguments, "registers": 1, "position_for_prefix": False})
    )
    state: Any = {name: tensor.numpy() for name, tensor in drawn(made).state_dict().items()}
    own = np.full((1, 1, 64), 0.5, np.float32)
    state |= {"pos_embed": np.concatenate([own, state["pos_embed"]], 1), "cls_token": state["cls_token"] - own}
    state |= {"register_tokens": state.pop("reg_token"), "mask_token": np.ones((1, 64), np.float32)}
    np.savez(tmp_path / "tips.npz", **state)
    candidate = load(tmp_path / "tips.npz")
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, found = made(images), candidate.backbone(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert candidate.report.format == "tips"
    assert candidate.card.preprocess.resize == "square"
    assert any("first of two class tokens" in line for line in candidate.report.assumed)


def test_esvit_evaluates_its_teacher() -> None:
    swin = backbones.build(Architecture(family="swin", arguments={"dim": 32, "depths": (1, 1), "heads": (1, 2)}))
    head = {"head.last_layer.weight_g": torch.ones(3, 1), "head_dense.mlp.0.weight": torch.ones(3, 3)}
    teacher = {f"module.{name}": tensor for name, tensor in {**swin.state_dict(), **head}.items()}
    student = {name: tensor + 1 for name, tensor in teacher.items()}
    match = read({"student": student, "teacher": teacher, "dino_loss": {"center": torch.ones(1, 3)}})
    assert (match.report.format, match.report.encoder.split()[0]) == ("esvit", "teacher")
    assert torch.equal(match.weights["patch_embed.proj.weight"], swin.state_dict()["patch_embed.proj.weight"])


def test_what_lejepa_probes_is_told() -> None:
    vit = backbones.build(Architecture(family="vit", arguments={"dim": 64, "heads": 1, "depth": 2, "image_size": 64}))
    state = {f"backbone.{name}": tensor for name, tensor in vit.state_dict().items()}
    state |= {"backbone.head.weight": torch.ones(512, 64), "backbone.head.bias": torch.ones(512)}
    state |= {"proj.0.weight": torch.ones(8, 512), "proj.1.running_mean": torch.ones(8), "proj.3.bias": torch.ones(8)}
    match = read(state)
    assert match.report.format == "lejepa"
    assert any("512 outputs" in line for line in match.report.assumed)
    assert match.card.preprocess.size == match.card.preprocess.crop == 64


@pytest.mark.slow
def test_a_masked_autoencoder_of_hiera_is_refused_with_the_reason() -> None:
    _, tree = hiera()
    state = {name: tensor for name, tensor in tree["model_state"].items() if not name.startswith(("norm", "head"))}
    state |= {"encoder_norm.weight": torch.ones(768), "decoder_pos_embed": torch.ones(1, 49, 512)}
    with pytest.raises(UserError, match="encoder_norm"):
        read({"model_state": state})


@pytest.mark.slow
def test_a_clip_that_lost_its_last_norm_is_no_perception_encoder() -> None:
    state = pe_names(network("vit_pe_spatial_tiny_patch16_512"))
    with pytest.raises(UserError):
        read({**state, "proj": torch.ones(192, 8)})
