"""Vision transformers in their sources' own names: loaded with the features of timm's networks, or refused.

The names are spelled here by hand from timm's network, the other way round than `checkpoints/naming/`.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from sources import CLOSE, Source, State, check_features, network, own, pair, read, spelled, wrongly_loaded
from torch import nn

from transferbench.checkpoints.load import load
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.recognition import recognize
from transferbench.errors import UserError


def dinov3_network(**more: Any) -> nn.Module:
    made: Any = network("vit_tiny_patch16_dinov3_qkvb", depth=2, global_pool="token", **more)
    with torch.no_grad():
        made.rope.periods.copy_(made.rope.periods.bfloat16())
    return made


def dinov3_names(made: Any) -> State:
    state = spelled(dict(made.state_dict()), (r"gamma_(\d)", r"ls\1.gamma"), ("reg_token", "storage_tokens"))
    for block in range(len(made.blocks)):
        query, value = (state.pop(f"blocks.{block}.attn.{each}_bias") for each in "qv")
        state[f"blocks.{block}.attn.qkv.bias"] = torch.cat([query, torch.full_like(query, 7.0), value])
        state[f"blocks.{block}.attn.qkv.bias_mask"] = torch.tensor([1.0, 0, 1]).repeat_interleave(len(query))
    return {**state, "rope_embed.periods": made.rope.periods.clone(), "mask_token": torch.ones(1, made.embed_dim)}


def transformers_names(made: Any, layer: str = "layer.") -> State:
    state = spelled(
        dict(made.state_dict()),
        (r"^blocks\.", layer),
        (r"gamma_(\d)", r"layer_scale\1.lambda1"),
        (r"attn\.([qv])_bias", r"attention.\1_proj.bias"),
        (r"attn\.proj", "attention.o_proj"),
        (r"mlp\.fc1", "mlp.up_proj"),
        (r"mlp\.fc2", "mlp.down_proj"),
        ("^cls_token", "embeddings.cls_token"),
        ("^reg_token", "embeddings.register_tokens"),
        (r"^patch_embed\.proj", "embeddings.patch_embeddings"),
    )
    for name in [each for each in state if each.endswith("attn.qkv.weight")]:
        for letter, part in zip("qkv", state.pop(name).chunk(3), strict=True):
            state[name.replace("attn.qkv", f"attention.{letter}_proj")] = part.clone()
    state.setdefault("embeddings.register_tokens", torch.zeros(1, 0, made.embed_dim))
    return {**state, "embeddings.mask_token": torch.ones(1, 1, made.embed_dim)}


def clip_names(made: Any) -> State:
    """The image encoder, and what a text encoder beside it looks like."""
    state = spelled(
        dict(made.state_dict()),
        (r"^norm\.", "ln_post."),
        (r"patch_embed\.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.norm", ".ln_"),
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"attn\.proj", "attn.out_proj"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
    )
    state["class_embedding"] = state.pop("cls_token")[0, 0]
    state["positional_embedding"] = state.pop("pos_embed")[0]
    state["proj"] = torch.ones(made.embed_dim, 32)
    text = {"positional_embedding": torch.ones(8, 64), "text_projection": torch.ones(64, 32)}
    text |= {"token_embedding.weight": torch.ones(100, 64), "ln_final.weight": torch.ones(64)}
    text |= {"transformer.resblocks.0.attn.in_proj_weight": torch.ones(192, 64), "logit_scale": torch.tensor(4.6)}
    return {**text, **{"visual." + name: tensor for name, tensor in state.items()}}


CLIP = {"depth": 2, "embed_dim": 64, "num_heads": 1}


def clip_half() -> tuple[nn.Module, State]:
    made = network("vit_base_patch32_clip_quickgelu_224", **CLIP)
    made.load_state_dict({name: tensor.half().float() for name, tensor in made.state_dict().items()})
    return made, {name: tensor.half() for name, tensor in clip_names(made).items()}


def clip_numbers() -> tuple[nn.Module, State]:
    made = network("vit_base_patch32_clip_quickgelu_224", **CLIP)
    sizes = {"input_resolution": torch.tensor(224), "context_length": torch.tensor(77), "vocab_size": torch.tensor(100)}
    return made, {**clip_names(made), **sizes}


def beit_tuned() -> tuple[nn.Module, Any]:
    made = network("beit_base_patch16_224", depth=2, embed_dim=128, num_heads=2)
    index = {f"blocks.{n}.attn.relative_position_index": torch.zeros(197, 197).long() for n in range(2)}
    head = {"head.weight": torch.ones(10, 128), "head.bias": torch.ones(10)}
    return made, {"model": {**made.state_dict(), **index, **head}}


def beit_pretrained() -> tuple[nn.Module, Any]:
    """One table of relative positions for all blocks, and a norm of every token."""
    shared = {"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False, "use_fc_norm": False}
    made = network("beit_base_patch16_224", depth=2, embed_dim=128, num_heads=2, **shared)
    head = {"mask_token": torch.ones(1, 1, 128), "lm_head.weight": torch.ones(99, 128), "lm_head.bias": torch.ones(99)}
    return made, {"model": {**made.state_dict(), **head}}


def eva02_pretrained() -> tuple[nn.Module, Any]:
    made = network("eva02_tiny_patch14_224", depth=2, use_fc_norm=False)
    state = spelled(dict(made.state_dict()), (r"mlp\.fc1", "mlp.w12"), (r"mlp\.fc2", "mlp.w3"))
    rotary = {f"rope.freqs_{each}": torch.ones(256, 64) for each in ("cos", "sin")}
    return made, {
        "model": {**state, **rotary, "mask_token": torch.ones(1, 1, 192), "lm_head.weight": torch.ones(9, 192)}
    }


def eva02_separate() -> tuple[nn.Module, Any]:
    made = network("eva02_base_patch14_224", depth=1, embed_dim=64, num_heads=1)
    swaps = [(r"fc1_g", "w1"), ("fc1_x", "w2"), (r"mlp\.fc2", "mlp.w3"), (r"mlp\.norm", "mlp.ffn_ln")]
    return made, spelled(dict(made.state_dict()), *swaps, (r"([qv])_proj\.bias", r"\1_bias"))


def teacher(made: Any) -> Any:
    head = {"dino_head.mlp.0.weight": torch.ones(3, 192), "dino_head.last_layer.weight": torch.ones(3, 3)}
    return {"teacher": {**{"backbone." + name: tensor for name, tensor in dinov3_names(made).items()}, **head}}


DINOV3 = "vit_tiny_patch16_dinov3_qkvb"
SOURCES = {
    "dinov3": Source(lambda: pair(dinov3_network(), dinov3_names), "dinov3", DINOV3),
    "dinov3 teacher": Source(lambda: pair(dinov3_network(), teacher), "dinov3", DINOV3),
    "dinov3 timm": Source(own(DINOV3, depth=2, global_pool="token"), "dinov3", DINOV3),
    "dinov3 timm without biases": Source(
        own("vit_small_patch16_dinov3", depth=1, global_pool="token"), "dinov3", "vit_small_patch16_dinov3"
    ),
    "dinov3 transformers": Source(
        lambda: pair(network(DINOV3, depth=2, global_pool="token"), transformers_names), "dinov3", DINOV3
    ),
    "dinov3 transformers in memory, no registers": Source(
        lambda: pair(
            network(DINOV3, depth=2, global_pool="token", num_reg_tokens=0),
            lambda made: transformers_names(made, "model.layer."),
        ),
        "dinov3",
        DINOV3,
    ),
    "clip half": Source(clip_half, "clip", "vit_base_patch32_clip_quickgelu_224"),
    "clip numbers": Source(clip_numbers, "clip", "vit_base_patch32_clip_quickgelu_224"),
    "beit tuned": Source(beit_tuned, "beit", "beit_base_patch16_224"),
    "beit pretrained": Source(beit_pretrained, "beit", "beit_base_patch16_224"),
    "eva02 timm": Source(own("eva02_tiny_patch14_224", depth=1), "beit", "eva02_tiny_patch14_224"),
    "eva02 pretrained": Source(eva02_pretrained, "beit", "eva02_tiny_patch14_224"),
    "eva02 separate": Source(eva02_separate, "beit", "eva02_base_patch14_224"),
    "pe timm": Source(own("vit_pe_core_tiny_patch16_384", depth=1), "timm", "vit_pe_core_tiny_patch16_384", 384),
}


@pytest.mark.parametrize("name", SOURCES)
def test_features_are_those_of_the_source(name: str, tmp_path: Path) -> None:
    check_features(SOURCES[name], tmp_path)


FEW = ("storage_tokens", "blocks.1.attn.qkv.bias")


@pytest.mark.parametrize("name", ["few of dinov3", *(pytest.param(each, marks=pytest.mark.slow) for each in SOURCES)])
def test_no_changed_file_loads(name: str) -> None:
    _, tree = SOURCES.get(name, SOURCES["dinov3"]).made()
    assert wrongly_loaded(tree, () if name in SOURCES else FEW) == []


def test_a_bias_of_the_keys_is_never_lost() -> None:
    _, tree = SOURCES["dinov3"].made()
    del tree["blocks.1.attn.qkv.bias_mask"]
    with pytest.raises(UserError, match=r"unexpected blocks\.1\.attn\.qkv\.bias"):
        read(tree)


def test_the_periods_of_the_file_are_computed_with() -> None:
    _, tree = SOURCES["dinov3"].made()
    rounded = read(tree)
    assert rounded.card.architecture.arguments["buffers"]["rope.periods"] == tree["rope_embed.periods"].tolist()
    tree["rope_embed.periods"] = 100.0 ** (torch.arange(16) / 16)
    assert read(tree).card.architecture.arguments["buffers"] == {}


def test_an_activation_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    made = network("vit_base_patch32_clip_224", **CLIP)
    torch.save(clip_names(made), tmp_path / "a.pth")
    with pytest.raises(
        UserError, match=r"vit_base_patch32_clip_224, timm:vit_base_patch32_clip_quickgelu_224.*--as"
    ) as no:
        load(tmp_path / "a.pth")
    said = str(no.value).rpartition("Say which it is: ")[2].removeprefix("--as ").split(" --as ")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected, found = made(images), load(tmp_path / "a.pth", overrides=said).backbone(images)
    assert (found - expected).abs().max() <= CLOSE * expected.abs().max()


def test_names_of_a_plain_network_that_may_be_rotary_are_refused_with_both() -> None:
    state = dict(network("vit_small_patch16_rope_ape_224", depth=1).state_dict())
    with pytest.raises(UserError, match=r"vit_small_patch16_rope_ape_224, timm:deit3_small_patch16_224.*--as arch="):
        read(state)
    said = ["arch=timm:deit3_small_patch16_224", "arguments.depth=1"]
    match = recognize(Contents(Path("a.pth"), "torch zip", state), overrides=said)
    assert match.card.architecture.arguments["name"] == "deit3_small_patch16_224"
