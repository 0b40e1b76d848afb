"""timm: plain ViT names, and the files of its training script, whose average it evaluates itself."""

from transferbench.checkpoints.formats import CLASSIFIER, Encoder, Layout

LAYOUTS = (
    Layout((Encoder(),), evidence=(r"blocks\.\d+\.attn\.qkv\.weight",), heads=(CLASSIFIER,)),
    Layout(
        (Encoder("ema", "", ("state_dict_ema",)), Encoder("online", "", ("state_dict",))),
        evidence=(r"(blocks|layer\d)\.\d+\.[\w.]+",),
        beside=("state_dict", "version", "args"),
        heads=(CLASSIFIER,),
    ),
)
