"""How VISSL spells RegNets (docs/checkpoints.md#naming). Canonical names are timm's."""

from transferbench.checkpoints.naming import Naming, Row

BLOCK, CANONICAL = "res{s+1}.block{s}-{n}.", "s{s}.b{n+1}."
ROWS: tuple[Row, ...] = (
    ("conv1.stem.0.", "stem.conv."),
    ("conv1.stem.1.", "stem.bn."),
    (BLOCK + "f.a.0.", CANONICAL + "conv1.conv."),
    (BLOCK + "f.a.1.", CANONICAL + "conv1.bn."),
    (BLOCK + "f.b.0.", CANONICAL + "conv2.conv."),
    (BLOCK + "f.b.1.", CANONICAL + "conv2.bn."),
    (BLOCK + "f.se.excitation.0.", CANONICAL + "se.fc1."),
    (BLOCK + "f.se.excitation.2.", CANONICAL + "se.fc2."),
    (BLOCK + "f.c.", CANONICAL + "conv3.conv."),
    (BLOCK + "f.final_bn.", CANONICAL + "conv3.bn."),
    (BLOCK + "proj.", CANONICAL + "downsample.conv."),
    (BLOCK + "bn.", CANONICAL + "downsample.bn."),
)
SIZES = ("004", "008", "016", "032", "040", "064", "080", "120", "160", "320", "640", "1280", "2560")

NAMINGS = (
    Naming(
        "VISSL RegNet",
        (r"res\d\.block\d-\d+\.f\.[abc]\.(?:0\.)?weight",),
        ROWS,
        library="timm",
        templates=tuple(f"regnety_{size}" for size in SIZES),
        is_sized=False,
    ),
)
