"""How Perception Encoders are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

from collections.abc import Iterable

from transferbench.checkpoints.naming import Naming, Row, Weights, clip

ROWS: tuple[Row, ...] = (
    *clip.ROWS,
    (clip.BLOCK + "ls_{k}.gamma", "blocks.{n}.gamma_{k}"),
    ("attn_pool.probe", "attn_pool.latent"),
    ("attn_pool.attn.out_proj.", "attn_pool.proj."),
    ("attn_pool.attn.", "attn_pool.attn."),
    ("attn_pool.layernorm.", "attn_pool.norm."),
    ("attn_pool.mlp.c_fc.", "attn_pool.mlp.fc1."),
    ("attn_pool.mlp.c_proj.", "attn_pool.mlp.fc2."),
)
JOINED = "attn_pool.attn.in_proj_"
CORE = tuple(
    f"vit_pe_core_{size}"
    for size in (
        "tiny_patch16_384",
        "small_patch16_384",
        "base_patch16_224",
        "large_patch14_336",
        "gigantic_patch14_448",
    )
)
OTHERS = tuple(
    f"vit_pe_{size}"
    for size in (
        *("spatial_tiny_patch16_512", "spatial_small_patch16_512", "spatial_base_patch16_512"),
        *("spatial_large_patch14_448", "spatial_gigantic_patch14_448"),
        *("lang_large_patch14_448", "lang_gigantic_patch14_448"),
    )
)


def _as_timm(weights: Weights) -> Weights:
    """Axes as timm's; the pool's queries apart from its keys and values."""
    changed: Weights = {}
    for name, tensor in clip.with_axes(weights).items():
        if name.startswith(JOINED) and tensor.ndim and not len(tensor) % 3:
            last, width = name.removeprefix(JOINED), len(tensor) // 3
            changed |= {f"attn_pool.q.{last}": tensor[:width], f"attn_pool.kv.{last}": tensor[width:]}
        else:
            changed[name] = tensor
    return changed


def _without_projection(names: Iterable[str]) -> frozenset[str]:
    """None where there is a norm behind the blocks or a projection: CLIP's networks have both, and these neither."""
    every = frozenset(names)
    return frozenset() if every & {"proj", "ln_post.weight", "ln_post.bias"} else every


NAMINGS = (
    Naming(
        "PE-Core ViT",
        (r"attn_pool\.probe",),
        ROWS,
        _as_timm,
        library="timm",
        templates=CORE,
        beside=clip.TEXT,
        is_sized=False,
    ),
    Naming(
        "PE-Spatial and PE-Lang ViT",
        (r"ln_pre\.weight",),
        ROWS,
        _as_timm,
        members=_without_projection,
        library="timm",
        templates=OTHERS,
        is_sized=False,
    ),
)
