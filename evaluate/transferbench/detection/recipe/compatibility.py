"""Whether a recipe and a network belong together, and what to change where they do not."""

from transferbench.backbones import Architecture, complete
from transferbench.detection.recipe import DetectionRecipe

STATABLE = frozenset({"depth", "groups", "width_per_group", "width", "stride_in_1x1"})
"""The arguments of a ResNet that Detectron2's configuration has a key for."""

PUBLISHED = ("coco_2", "voc_2")
"""How the data sets of published recipes begin."""


def keys_of(architecture: Architecture) -> dict[str, int | bool]:
    """What `MODEL.RESNETS` has to say of a ResNet, key by key."""
    full = complete(architecture).arguments
    expansion = 1 if full["depth"] in (10, 18, 34) else 4
    stem = int(64 * full["width"])
    return {
        "DEPTH": full["depth"],
        "NUM_GROUPS": full["groups"],
        "WIDTH_PER_GROUP": int(full["width_per_group"] * full["width"]),
        "STEM_OUT_CHANNELS": stem,
        "RES2_OUT_CHANNELS": stem * expansion,
        "STRIDE_IN_1X1": full["stride_in_1x1"],
    }


def overrides(architecture: Architecture) -> list[str]:
    """The KEY VALUE pairs that make a recipe describe this ResNet."""
    return [word for key, value in keys_of(architecture).items() for word in (f"MODEL.RESNETS.{key}", str(value))]


def is_published(recipe: DetectionRecipe) -> bool:
    """Whether it is for COCO or VOC, whose figures are compared with papers'."""
    return any(name.startswith(PUBLISHED) for name in (*recipe.DATASETS.TRAIN, *recipe.DATASETS.TEST))


def unsuited(recipe: DetectionRecipe, architecture: Architecture) -> str | None:
    """Why a recipe cannot be run on a network, with what to do; None when it can.

    Published recipes take Detectron2's ResNet and no other: one with a 3x3 stem has maps two to four times as fine, on
    which their anchors and sizes mean something else (docs/protocols.md#loading-weights).
    """
    if architecture.family != "resnet":
        return f"{architecture.name} is not a ResNet: detectors are built on ResNets only. Leave `detect` out for it."
    usual = complete(Architecture(family="resnet", arguments={})).arguments
    full = complete(architecture).arguments
    strange = {key: value for key, value in full.items() if key not in STATABLE and value != usual[key]}
    if strange and is_published(recipe):
        said = ", ".join(f"{key} {value}" for key, value in strange.items())
        why = (
            " A 3x3 stem gives finer maps, which its anchors and image sizes are not made for."
            if "stem" in strange
            else ""
        )
        return (
            f"{architecture.name} differs from Detectron2's ResNet ({said}), and the recipe's published numbers are "
            f"for that.{why} Pretrain with the 7x7 stem, or use a recipe of your own data."
        )
    return _disagreement(recipe, architecture)


def _disagreement(recipe: DetectionRecipe, architecture: Architecture) -> str | None:
    stated = recipe.MODEL.RESNETS.model_dump()
    wrong = {key: value for key, value in keys_of(architecture).items() if stated[key] != value}
    if not wrong:
        return None
    lines = [f"  MODEL.RESNETS.{key}: the recipe says {stated[key]}, the network has {v}" for key, v in wrong.items()]
    cure = " ".join(f"MODEL.RESNETS.{key} {value}" for key, value in wrong.items())
    return f"The recipe is not for {architecture.name}:\n" + "\n".join(lines) + f"\nGive the overrides {cure}"
