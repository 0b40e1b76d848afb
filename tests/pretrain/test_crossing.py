"""Every method starts from every recipe: with its own published settings, fitted to the batch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decorssl import checks, crossing, session
from decorssl import recipe as recipes
from decorssl.catalog import generic_names
from decorssl.cli.options import RecipeOptions
from decorssl.crossing import chosen, crossed, headed
from decorssl.heads import Projector
from decorssl.methods import METHODS, Fitting
from decorssl.networks import named
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime


def accepts(recipe: recipes.Recipe) -> bool:
    method = METHODS.load(recipe.method)
    method.routes(recipe.config, len(recipe.views))
    method.check(recipe.config, recipe.batch_size, recipe.projector.output)
    return True


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_works_with_the_batch_and_head_that_it_is_given(method: str) -> None:
    for base in ("intl-digits", *generic_names()):
        for images in (7, 1000):
            recipe = crossed(method, base, images=images)
            assert recipe.batch_size <= images
            assert accepts(recipe)


@pytest.mark.parametrize("name", [name for name, method in METHODS.all() if isinstance(method, Fitting)])
def test_what_fits_a_batch_is_changed_only_where_it_has_to_be(name: str) -> None:
    method = METHODS.load(name)
    config = method.Config()
    for batch, dim in ((128, 512), (6, 7), (2, 3), (30, 1000), (256, 256), (256, 96)):
        fitted, channels = method.fitted(config, batch, dim)
        method.check(fitted, batch, channels)
        try:
            method.check(config, batch, dim)
        except UserError:
            continue
        assert (fitted, channels) == (config, dim) or name == "batchnorm" or channels == dim


def test_the_method_brings_its_settings_and_the_kind_of_its_head_the_recipe_all_else() -> None:
    base, own = recipes.read("intl-digits"), recipes.read("simsiam-cifar10")
    recipe = crossed("simsiam", "intl-digits")
    assert (recipe.name, recipe.summary) == ("simsiam-intl-digits", "SimSiam with the recipe intl-digits")
    assert (recipe.settings, recipe.targets) == (own.settings, ())
    assert (recipe.projector.output_norm, recipe.projector.hidden, recipe.projector.output) == ("plain", 512, 512)
    assert recipe.optim == base.optim.model_copy(update={"constant_predictor_lr": own.optim.constant_predictor_lr})
    same = ("data", "backbone", "views", "preprocess", "epochs", "batch_size", "growth")
    assert [getattr(recipe, name) for name in same] == [getattr(base, name) for name in same]
    narrow = headed({"layers": 2, "hidden": 512, "output": 512}, Projector(output=128, activation="gelu"))
    assert (narrow["layers"], narrow["hidden"], narrow["output"], narrow["activation"]) == (2, 512, 128, "gelu")


def test_what_is_set_by_hand_is_never_changed_and_then_refused_where_it_does_not_fit() -> None:
    kept = crossed("wmse", "intl-digits", ["settings.w_size=32", "projector.output=16", "epochs=3"])
    assert (kept.settings["w_size"], kept.projector.output, kept.epochs) == (32, 16, 3)
    wrong = crossed("wmse", "intl-digits", ["settings.w_size=48"])
    with pytest.raises(UserError, match=r"--set settings\.w_size=32"):
        accepts(wrong)
    with pytest.raises(UserError, match=r"Did you mean 'optim\.lr'"):
        crossed("wmse", "intl-digits", ["lr=1"])


@pytest.mark.parametrize(("side", "name"), [(28, "small-32"), (64, "small-64"), (96, "small-64"), (400, "medium-224")])
def test_the_generic_recipe_goes_by_the_size_of_the_images(
    side: int, name: str, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tiny_images(40)
    odd = replace(images, read=lambda i: Image.new("RGB", (900, 900) if i == 0 else (side + 50, side)))
    monkeypatch.setattr(crossing, "open_split", lambda *asked: odd)
    recipe = chosen("intl", None, ["data=./mine"], Path())
    assert (recipe.name, recipe.batch_size, recipe.data) == (f"intl-{name}", 32, "./mine")
    assert chosen("intl", name, ["data=./mine", "batch_size=8"], Path()).batch_size == 8


def test_a_damaged_image_is_no_hindrance_to_finding_the_size_of_the_others(
    tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(index: int) -> Image.Image:
        if index < until:
            raise OSError("damaged")
        return Image.new("RGB", (70, 60))

    monkeypatch.setattr(crossing, "open_split", lambda *asked: replace(tiny_images(20), read=read))
    until = 1
    assert chosen("intl", None, ["data=./mine"], Path()).name == "intl-small-64"
    until = 20
    with pytest.raises(UserError, match="Cannot decode image"):
        chosen("intl", None, ["data=./mine"], Path())


def test_several_data_are_a_list_and_one_alone_is_what_it_was(
    tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(crossing, "open_split", lambda data, *rest: asked.append(data) or tiny_images(40))
    several = RecipeOptions(data=["./a", "./b, c"]).overrides()
    assert chosen("intl", None, several, Path()).data == ("./a", "./b, c") == asked[-1]
    one = RecipeOptions(data=["./a"]).overrides()
    assert (one, chosen("intl", None, one, Path()).data, asked[-1]) == (["data=./a"], "./a", "./a")
    plain = recipes.read("intl-digits")
    assert recipes.read("intl-digits", ["data=[digits]"]) == plain
    assert plain.model_dump(mode="json")["data"] == "digits"
    for wrong in ("data=[]", "data=[digits, '']", "data=3"):
        with pytest.raises(UserError, match="data"):
            recipes.read("intl-digits", [wrong])


def test_a_recipe_of_the_method_for_the_data_comes_first_and_the_digits_have_one_for_all() -> None:
    assert chosen("intl", None, ["data=cifar10"], Path()) == recipes.read("intl-cifar10")
    assert chosen("cwrgp", "cwrgp-stl10", [], Path()) == recipes.read("cwrgp-stl10")
    assert chosen("intl", None, [], Path()) == recipes.read("intl-digits")
    assert chosen("cwrgp", None, [], Path()).name == "cwrgp-small-digits"
    assert chosen("wmse", "cwrgp-stl10", [], Path()).name == "wmse-cwrgp-stl10"


def test_networks_by_a_short_name() -> None:
    digits = recipes.read("intl-digits").backbone.model_dump(mode="json")
    assert named("resnet50", digits, 32) == {**digits, "arguments": {**digits["arguments"], "depth": 50}}
    assert named("resnet18", {"family": "vit"}, 64)["arguments"] == {"stem": "small_maxpool", "depth": 18}
    assert named("timm:convnext_atto", digits, 32) == {"family": "timm", "arguments": {"name": "convnext_atto"}}
    sizes = [named("ViT_tiny", digits, side)["arguments"]["patch_size"] for side in (16, 32, 64, 96, 224, 448)]
    assert sizes == [2, 4, 8, 8, 16, 16]
    recipe = chosen("intl", None, ["epochs=3"], Path(), "vit-tiny")
    assert (recipe.backbone.family, recipe.backbone.arguments["dim"]) == ("vit", 192)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small images without labels, in folders of folders."""
    folder = tmp_path_factory.mktemp("photographs")
    draw = np.random.default_rng(0)
    for i in range(12):
        place = folder / ("", "2024", "2025/spring", "2025/autumn/woods")[i % 4]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 24, 3), np.uint8)).save(place / f"{i}.png")
    return folder


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_starts_on_images_without_labels(method: str, photographs: Path, tmp_path: Path) -> None:
    tiny = ["backbone.arguments.width=0.0625", "projector.hidden=16", "epochs=1", f"data={photographs}"]
    recipe = chosen(method, None, tiny, tmp_path, "resnet10")
    assert recipe.name == f"{method}-small-32"
    smaller = {name: 32 for name in ("prototypes", "queue", "predictor_hidden") if recipe.settings.get(name)}
    recipe = recipe.model_copy(update={"settings": {**recipe.settings, **smaller}})
    said = list[str]()
    options = session.RunOptions(device="cpu", workers=0, views="pil", watch_every=0)
    assert session.run(recipe, tmp_path / "run", False, options, said.append) == 0
    assert said[0] == f"{photographs.name} has no labels: k-NN while training is left out."
    assert (tmp_path / "run" / "backbone.safetensors").is_file()


def test_a_recipe_with_another_number_of_views_is_refused_and_what_to_take_is_said() -> None:
    recipe = crossed("mocov2", "cwrgp-cifar10", ["precision=float32"])
    with pytest.raises(UserError, match="exactly 2 views of an image; found 4") as refused:
        checks.check(recipe, 1000, Runtime(torch.device("cpu")))
    assert "small-32" in str(refused.value)
    assert "  base: cwrgp-cifar10\n  method: mocov2\n" in str(refused.value)
