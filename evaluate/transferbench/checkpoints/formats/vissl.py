"""VISSL (facebookresearch/vissl): the trunk of a training file, of an evaluated network, or of a converted one."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

BLOCKS = r"(trunk\.|base_model\.)*_feature_blocks\.[\w.]+"
PREFIXES = ("_feature_blocks.", "trunk._feature_blocks.", "base_model._feature_blocks.")

LAYOUTS = (
    Layout(
        (
            *(EncoderSpec("backbone", prefix, ("trunk", "model_state_dict", "model", "")) for prefix in PREFIXES),
            EncoderSpec("backbone", "trunk."),
        ),
        evidence=(BLOCKS,),
        method="vissl",
    ),
    Layout(
        when=lambda file: file.word("type") == "shard_list",
        refusal="it lists the files of a sharded network; gather them into one first",
    ),
)
