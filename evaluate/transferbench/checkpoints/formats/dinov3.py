"""DINOv3 (facebookresearch/dinov3, transformers): rotary positions, which no network here has. Refused."""

from transferbench.checkpoints.formats import Layout

REASON = "it is DINOv3, whose rotary position embeddings no network of this version computes"

LAYOUTS = (
    Layout(evidence=(r"(.*\.)?(rope_embed\.periods|storage_tokens)",), refusal=REASON),
    Layout(
        evidence=(r"(.*\.)?layer\.\d+\.attention\.k_proj\.weight", r"(.*\.)?embeddings\.register_tokens"),
        refusal=REASON,
    ),
)
