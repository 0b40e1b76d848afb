"""The views of the recipes against the publications, written out; views of several sizes through the loop.

Source: docs/methods.md#views.
"""

from collections.abc import Callable

import pytest
import torch

from decorssl import recipe as recipes
from decorssl.loop import Training
from decorssl.recipe import Recipe
from decorssl.views import View
from transferbench.data import LabeledImages
from transferbench.runtime import Runtime

INTL_COLOR = ["jitter 0.4 0.4 0.2 0.1 p 0.8", "gray p 0.2"]
SMALL_COLOR = ["jitter 0.4 0.4 0.4 0.1 p 0.8", "gray p 0.1"]
HUA = ["flip p 0.5", "jitter 0.4 0.4 0.4 0.1 p 0.8", "gray p 0.2"]
MULTI_CROP = [(224, 0.2, 1.0), (224, 0.2, 1.0), (192, 0.171, 0.857), (160, 0.143, 0.714), (128, 0.114, 0.571)]
MULTI_CROP += [(96, 0.086, 0.429)]


def small(size: int, scale: float = 0.2) -> list[str]:
    """CW-RGP and W-MSE on small sets: color, then the crop."""
    return [*SMALL_COLOR, f"crop {size} {scale}-1.0 bicubic", "flip p 0.5"]


PUBLISHED = {
    # INTL: crop, jitter, gray, blur, solarize, flip
    "intl-cifar10": [
        ["crop 32 0.08-1.0 bicubic", *INTL_COLOR, "flip p 0.5"],
        ["crop 32 0.08-1.0 bicubic", *INTL_COLOR, "solarize 128 p 0.2", "flip p 0.5"],
    ],
    "intl-imagenet": [
        ["crop 224 0.08-1.0 bicubic", *INTL_COLOR, "blur 0.1-2.0 p 1.0", "flip p 0.5"],
        ["crop 224 0.08-1.0 bicubic", *INTL_COLOR, "blur 0.1-2.0 p 0.1", "solarize 128 p 0.2", "flip p 0.5"],
    ],
    "intl_m-imagenet": [
        [f"crop {size} {low}-{high} bicubic", *INTL_COLOR, "blur 0.1-2.0 p 0.5", "solarize 128 p 0.1", "flip p 0.5"]
        for size, low, high in MULTI_CROP
    ],
    # CW-RGP
    "cwrgp-cifar10": 4 * [small(32)],
    "cwrgp-cifar10-2views": 2 * [small(32)],
    "cwrgp-stl10": 4 * [small(64)],
    "cwrgp-tiny-imagenet-2views": 2 * [small(64)],
    "cwrgp-imagenet": 4
    * [
        [
            *("crop 224 0.2-1.0 bilinear", "jitter 0.4 0.4 0.4 0.1 p 0.8", "gray p 0.2"),
            *("blur 0.1-2.0 p 0.5", "flip p 0.5"),
        ]
    ],
    # htdt/self-supervised
    "wmse-cifar10": 4 * [small(32)],
    "byol-stl10": 2 * [small(64)],
    "simclr-cifar100": 2 * [small(32)],
    "wmse-imagenet-100-2views": 2
    * [
        [
            *("jitter 0.8 0.8 0.8 0.2 p 0.8", "gray p 0.2", "crop 224 0.08-1.0 bicubic"),
            *("flip p 0.5", "blur 0.1-2.0 p 0.5"),
        ]
    ],
    # DBN: blur above 32 px alone, its kernel size // 20 * 2 + 1
    "dbn-cifar10": 2 * [["crop 32 0.2-1.0 bilinear", *HUA]],
    "dbn-tiny-imagenet": 2 * [["crop 64 0.2-1.0 bilinear", *HUA, "blur 0.1-2.0 kernel 7 p 0.5"]],
    "dbn-stl10": 2 * [["crop 96 0.2-1.0 bilinear", *HUA, "blur 0.1-2.0 kernel 9 p 0.5"]],
    "dbn-imagenet": 2 * [["crop 224 0.2-1.0 bilinear", *HUA, "blur 0.1-2.0 kernel 23 p 0.5"]],
    # serdarozsoy/corinfomax-ssl
    **{
        f"corinfomax-{name}": [
            [f"crop {size} 0.08-1.0 bicubic", "flip p 0.5", *INTL_COLOR, *last]
            for last in (["blur 0.1-2.0 p 1.0"], ["blur 0.1-2.0 p 0.1", "solarize 128 p 0.2"])
        ]
        for name, size in (("cifar10", 32), ("cifar100", 32), ("tiny-imagenet", 64), ("imagenet-100", 224))
    },
    # ThomasYerxa/mmcr
    "mmcr-cifar10": 40 * [["crop 32 0.08-1.0 bilinear", "flip p 0.5", "jitter 0.4 0.4 0.4 0.1 p 0.8", "gray p 0.2"]],
    "mmcr-stl10": 40 * [small(64)],
    "mmcr_m-imagenet": [
        ["crop 224 0.08-1.0 bicubic", "flip p 0.5", *INTL_COLOR, "blur 0.1-2.0 p 1.0"],
        ["crop 224 0.08-1.0 bicubic", "flip p 0.5", *INTL_COLOR, "blur 0.1-2.0 p 0.1", "solarize 128 p 0.2"],
    ],
    # ReSA: a weak view, a strong one
    "resa-cifar10": [
        ["crop 32 0.2-1.0 bilinear", "flip p 0.5"],
        ["crop 32 0.2-1.0 bicubic", *INTL_COLOR, "solarize 128 p 0.2", "flip p 0.5"],
    ],
    "resa-imagenet": [
        ["crop 224 0.2-1.0 bilinear", "flip p 0.5"],
        ["crop 224 0.2-1.0 bicubic", *INTL_COLOR, "blur 0.1-2.0 p 0.5", "solarize 128 p 0.2", "flip p 0.5"],
    ],
    # solo-learn's scripts/pretrain/cifar
    "barlow_twins-cifar10": [
        ["crop 32 0.08-1.0 bicubic", *INTL_COLOR, "flip p 0.5"],
        ["crop 32 0.08-1.0 bicubic", *INTL_COLOR, "solarize 128 p 0.2", "flip p 0.5"],
    ],
    "vicreg-cifar100": 2 * [["crop 32 0.2-1.0 bicubic", *INTL_COLOR, "solarize 128 p 0.1", "flip p 0.5"]],
    "simclr-cifar10-solo": 2
    * [
        [
            *("crop 32 0.08-1.0 bicubic", "jitter 0.8 0.8 0.8 0.2 p 0.8", "gray p 0.2"),
            *("blur 0.1-2.0 p 0.5", "flip p 0.5"),
        ]
    ],
    "mocov2-cifar100": 2
    * [
        [
            *("crop 32 0.08-1.0 bicubic", "jitter 0.4 0.4 0.4 0.1 p 0.8", "gray p 0.2"),
            *("blur 0.1-2.0 p 0.5", "flip p 0.5"),
        ]
    ],
    # OFSkean/FroSSL's scripts/pretrain
    "frossl-cifar100": 2 * [["jitter 0.8 0.8 0.8 0.2 p 0.8", "gray p 0.2", "blur 0.1-2.0 p 0.5", "flip p 0.5"]],
    "frossl-stl10": 2
    * [
        [
            *("crop 96 0.08-1.0 bicubic", "jitter 0.4 0.4 0.4 0.1 p 0.8", "gray p 0.2"),
            *("blur 0.1-2.0 p 0.5", "flip p 0.5"),
        ]
    ],
    "frossl-tiny-imagenet": [
        ["crop 64 0.08-1.0 bicubic", *INTL_COLOR, "blur 0.1-2.0 p 1.0", "flip p 0.5"],
        ["crop 64 0.08-1.0 bicubic", *INTL_COLOR, "blur 0.1-2.0 p 0.1", "solarize 128 p 0.2", "flip p 0.5"],
    ],
    "frossl-imagenet-100": 2
    * [
        [
            *("crop 224 0.08-1.0 bicubic", "jitter 0.8 0.8 0.8 0.2 p 0.8", "gray p 0.2"),
            *("blur 0.1-2.0 p 0.5", "flip p 0.5"),
        ]
    ],
    "frossl-imagenet": 2
    * [["crop 224 0.2-1.0 bicubic", *INTL_COLOR, "blur 0.1-2.0 p 0.5", "solarize 128 p 0.1", "flip p 0.5"]],
    # xinliu20/MEC, which Matrix-SSL's code is made from
    "matrix_ssl-imagenet": [
        ["crop 224 0.2-1.0 bilinear", *INTL_COLOR, "blur 0.1-2.0 p 1.0", "flip p 0.5"],
        ["crop 224 0.2-1.0 bilinear", *INTL_COLOR, "blur 0.1-2.0 p 0.1", "solarize 128 p 0.2", "flip p 0.5"],
    ],
}


def words(view: View) -> list[str]:
    """A view as the publications are written out above."""
    told = []
    for operation in view.operations:
        match operation.op:
            case "crop":
                assert operation.ratio == (3 / 4, 4 / 3)
                low, high = operation.scale
                told.append(f"crop {operation.size} {low}-{high} {operation.interpolation}")
                continue
            case "jitter":
                parts = [operation.brightness, operation.contrast, operation.saturation, operation.hue]
            case "blur":
                parts = [f"{operation.radius[0]}-{operation.radius[1]}"]
                parts += [f"kernel {operation.kernel}"] if operation.kernel else []
            case "solarize":
                parts = [operation.threshold]
            case _:
                parts = []
        told.append(" ".join(map(str, [operation.op, *parts, "p", operation.p])))
    return told


@pytest.mark.parametrize("name", PUBLISHED)
def test_operations_order_and_probabilities_are_the_published_ones(name: str) -> None:
    assert [words(view) for view in recipes.read(name).views] == PUBLISHED[name]


def test_views_of_several_sizes_come_in_recipe_order_and_give_one_embedding_each(
    recipe: Recipe, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (16, 16, 14, 12, 9)
    views = [{"operations": [{"op": "crop", "size": size}]} for size in sizes]
    recipe = recipe.model_copy(update={"views": tuple(View.model_validate(view) for view in views)})
    training, seen = Training(recipe, tiny_images(20), Runtime(torch.device("cpu"))), []
    training.encoder.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    step = next(iter(training.steps()))
    assert seen == [(8, 3, size, size) for size in sizes]
    assert [tuple(z.shape) for z in step.embeddings] == 5 * [(8, 32)]
    assert torch.isfinite(step.terms["loss"])


JUDGED = {
    "corinfomax-cifar10": (36, 32, "bicubic"),
    "corinfomax-cifar100": (36, 32, "bicubic"),
    "corinfomax-tiny-imagenet": (73, 64, "bicubic"),
    "corinfomax-imagenet-100": (256, 224, "bicubic"),
    "corinfomax-imagenet": (256, 224, "bicubic"),
}
"""Size, crop and interpolation of the images of which the authors' classifier is tested."""


@pytest.mark.parametrize("name", JUDGED)
def test_images_are_judged_as_the_authors_judge_them(name: str) -> None:
    preprocess = recipes.read(name).preprocess
    assert (preprocess.size, preprocess.crop, preprocess.interpolation) == JUDGED[name]
