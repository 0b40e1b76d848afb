"""Views made in batches against views made by PIL one by one: the same tensors in the same order, whatever the way."""

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decorssl import recipe as recipes
from decorssl import view_pipeline
from decorssl.bad_images import BadImageReplacer
from decorssl.loop import Training
from decorssl.recipe import Recipe
from decorssl.view_pipeline import Complete, Supply, Way
from decorssl.view_pipeline.batched import Decoded, Held
from decorssl.views import View, Views
from transferbench.data import LabeledImages, pixels, resident
from transferbench.data.loading import Batch, OneByOne, TrainingPlans, batches, shuffled
from transferbench.errors import UserError
from transferbench.runtime import Runtime

CPU = torch.device("cpu")
HAS_NUMBA = find_spec("numba") is not None
MADE: list[Way] = ["batched", *(["compiled"] if HAS_NUMBA else [])]
pytestmark = pytest.mark.usefixtures("machine_code") if HAS_NUMBA else []
Images = Callable[..., LabeledImages]


def of_many_sizes(images: LabeledImages) -> LabeledImages:
    return replace(images, read=partial(_resized, images.read))


def _resized(read: Callable[[int], Image.Image], index: int) -> Image.Image:
    image = read(index)
    return image.resize((image.width + 3 * (index % 5), image.height + 40 * (index % 3)))


def views_of(name: str) -> Views:
    recipe = recipes.read(name)
    return Views(recipe.views, recipe.preprocess)


BATCHED = [
    name
    for name in recipes.names()
    if all(pixels.can(view.operations) and view.cropped for view in recipes.read(name).views)
]


def distinct(names: list[str]) -> list[str]:
    """One recipe of those with the same views, at 32 pixels or at 64."""
    found = {recipes.read(name).model_dump_json(include={"views"}): name for name in names}
    return sorted(name for name in found.values() if recipes.read(name).preprocess.crop <= 64)


@pytest.mark.parametrize("way", MADE)
@pytest.mark.parametrize("kind", ["held", "decoded"])
@pytest.mark.parametrize("name", distinct(BATCHED))
def test_every_recipes_views_are_the_same_by_all_ways(name: str, kind: str, way: Way, tiny_images: Images) -> None:
    images, views, plans = tiny_images(12, size=32), views_of(name), shuffled(12, 6, 3, 5, False)
    images = images if kind == "held" else of_many_sizes(images)
    source = view_pipeline.supply(images, views, 5, CPU, way)
    if way == "batched":
        assert type(source) is (Held if kind == "held" else Decoded)
    assert_same(view_pipeline.batches(images, source, plans, 5, 0), batches(images, views, plans, 5))


@pytest.mark.parametrize("way", MADE)
def test_views_of_224_pixels_are_the_same(way: Way, tiny_images: Images) -> None:
    images, views = of_many_sizes(tiny_images(4, size=90)), views_of("intl-imagenet")
    plans = shuffled(4, 4, 0, 0, False)
    ours = view_pipeline.batches(images, view_pipeline.supply(images, views, 0, CPU, way), plans, 0, 0)
    assert_same(ours, batches(images, views, plans, 0))


@pytest.mark.parametrize("way", MADE)
@pytest.mark.parametrize("kind", ["held", "decoded"])
def test_views_that_are_cropped_twice_are_the_same(kind: str, way: Way, tiny_images: Images) -> None:
    jitter = {"op": "jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    crops = [{"op": "crop", "size": size, "scale": (0.1, 0.6)} for size in (20, 9)]
    twice, once = (View.model_validate({"operations": each}) for each in ([crops[0], jitter, crops[1]], crops[:1]))
    views = Views((twice, once, twice), recipes.read("intl-cifar10").preprocess)
    images, plans = tiny_images(8, size=24), shuffled(8, 4, 1, 3, False)
    images = images if kind == "held" else of_many_sizes(images)
    ours = view_pipeline.batches(images, view_pipeline.supply(images, views, 3, CPU, way), plans, 3, 0)
    assert_same(ours, batches(images, views, plans, 3))


@pytest.mark.parametrize("way", MADE)
@pytest.mark.parametrize("limit", [0, 2], ids=["whole", "one broken"])
def test_jpegs_give_the_same_views(way: Way, limit: int, tiny_images: Images, tmp_path: Path) -> None:
    """Of several sizes, one of them gray; and where a file ends too soon, by the next image in its place."""
    sized, files = of_many_sizes(tiny_images(6, size=40)), []
    for i in range(6):
        file = io.BytesIO()
        sized.image(i).convert("L" if i == 2 else "RGB").save(file, "JPEG", subsampling=i % 3)
        files.append(file.getvalue()[: -200 if limit and i == 4 else None])
    images = replace(sized, read=lambda i: Image.open(io.BytesIO(files[i])))
    images, views = BadImageReplacer(images, limit, tmp_path).images, views_of("simclr-cifar10-solo")
    plans = shuffled(6, 3, 2, 7, False)
    ours = view_pipeline.batches(images, view_pipeline.supply(images, views, 7, CPU, way), plans, 7, 0)
    assert_same(ours, batches(images, views, plans, 7))


@pytest.mark.parametrize("way", MADE)
def test_batches_do_not_depend_on_loader_processes(way: Way, tiny_images: Images) -> None:
    images, views, plans = tiny_images(24), views_of("intl-cifar10"), TrainingPlans(24, 8, 2, 1).between(1, 6)
    source = view_pipeline.supply(images, views, 1, CPU, way)
    alone, shared = (list(view_pipeline.batches(images, source, plans, 1, workers)) for workers in (0, 2))
    assert len(alone) == 5
    assert_same(alone, shared)


def assert_same(ours: Iterable[Batch], theirs: Iterable[Batch]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.indices, b.indices)
        assert torch.equal(a.labels, b.labels)
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))


def test_a_run_ends_with_the_same_weights_by_all_ways(recipe: Recipe, tiny_images: Images) -> None:
    ends = []
    for way in ("pil", *MADE, "auto"):
        training = Training(recipe, tiny_images(20), Runtime(CPU), 0, way)
        losses = [step.terms["loss"].item() for step in training.steps()]
        ends.append((losses, training.learner.state_dict()))
    for losses, state in ends[1:]:
        assert losses == ends[0][0]
        assert all(torch.equal(state[name], tensor) for name, tensor in ends[0][1].items())


def test_what_cannot_be_batched_is_left_to_pil_or_refused(tiny_images: Images) -> None:
    images, views = tiny_images(4), views_of("dbn-stl10")
    assert isinstance(made_by(view_pipeline.supply(images, views, 0, CPU)), OneByOne)
    for way in MADE:
        with pytest.raises(UserError, match="--views pil"):
            view_pipeline.supply(images, views, 0, CPU, way)
    with pytest.raises(UserError, match="batched"):
        view_pipeline.way("batch")


def made_by(source: Supply) -> object:
    return source.make if isinstance(source, Complete) else source


def test_a_cpu_takes_machine_code_else_batches_for_small_images_alone(
    tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = views_of("intl-cifar10")
    if HAS_NUMBA:
        from decorssl.view_pipeline.compiled import CompiledViews

        assert isinstance(made_by(view_pipeline.supply(tiny_images(4, size=80), views, 0, CPU)), CompiledViews)
    monkeypatch.setattr(view_pipeline, "find_spec", lambda name: None)
    assert isinstance(made_by(view_pipeline.supply(tiny_images(4, size=80), views, 0, CPU)), OneByOne)
    assert isinstance(view_pipeline.supply(tiny_images(4, size=32), views, 0, CPU), Held)
    with pytest.raises(UserError, match=r"transferbench\[fast\]"):
        view_pipeline.supply(tiny_images(4), views, 0, CPU, "compiled")


def test_only_small_sets_of_one_size_that_can_be_read_are_held(
    tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tiny_images(5)
    held = resident.pixels(images, threads=2)
    assert held is not None
    assert all(np.array_equal(held[i], np.asarray(images.image(i))) for i in range(5))
    assert resident.pixels(of_many_sizes(images)) is None
    assert resident.pixels(tiny_images(2, size=200)) is None

    def broken(index: int) -> Image.Image:
        raise OSError("no")

    assert resident.pixels(replace(images, read=broken)) is None
    monkeypatch.setattr(resident, "LIMIT", 5 * 16 * 16 * 3 - 1)
    assert resident.pixels(images) is None


def test_a_view_is_cropped_after_its_last_crop() -> None:
    jitter = {"op": "jitter", "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1}
    crop, flip = {"op": "crop", "size": 8}, {"op": "flip"}
    for operations, expected in (([crop, flip], 1), ([jitter, crop, flip], 2), ([flip], 0), ([crop, jitter, crop], 3)):
        assert View.model_validate({"operations": operations}).cropped == expected


def test_the_command_line_names_the_way(tmp_path: Path) -> None:
    from decorssl.session import RunOptions

    assert RunOptions().views == "auto"
    assert view_pipeline.way("pil") == "pil"
