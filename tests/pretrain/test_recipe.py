"""Recipes: those that come along are whole, and misfits are told all at once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decorssl import recipe as recipes
from decorssl import session
from decorssl.bad_images import BadImageReplacer
from decorssl.cli.options import RecipeOptions
from transferbench.errors import UserError


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_reads_back_from_what_it_resolves_to(name: str, tmp_path: Path) -> None:
    recipe = recipes.read(name)
    path = tmp_path / "recipe.json"
    path.write_text(recipe.model_dump_json())
    assert recipes.read(path) == recipe
    assert recipe.name == name


@pytest.mark.parametrize("name", recipes.names())
def test_the_numbers_of_every_recipe_go_together(name: str) -> None:
    import torch

    from decorssl.checks import check
    from transferbench.runtime import Runtime

    device = torch.device("cpu")
    recipe = recipes.read(name).resolved(device)
    check(recipe, recipe.batch_size, Runtime(device))
    first, peak = recipe.optim.rate(0, 10, recipe.epochs, recipe.batch_size), recipe.optim.peak(recipe.batch_size)
    is_constant = recipe.optim.floor == 1 and recipe.optim.warmup_epochs == 0
    assert first == peak if is_constant else first < peak


def test_every_misfit_is_told_at_once_with_near_names(recipe_file: Path) -> None:
    overrides = ["epochs=-3", "optim.leanring_rate=1", "settings.iteratons=4", "settings.trade_off=-1", "batch_size=1"]
    with pytest.raises(UserError) as error:
        recipes.read(recipe_file, overrides)
    message = str(error.value)
    for part in (
        "epochs: found -3",
        "leanring_rate",
        "Did you mean 'iterations'?",
        "trade_off: found -1",
        "batch_size",
    ):
        assert part in message


def test_an_unknown_operation_names_those_there_are(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("op: flip", "op: flop"))
    with pytest.raises(UserError, match=r"'crop', 'jitter'.*'flip'"):
        recipes.read(recipe_file)


def test_a_number_with_an_exponent_is_a_number(recipe_file: Path) -> None:
    assert recipes.read(recipe_file, ["optim.weight_decay=1e-4"]).optim.weight_decay == 1e-4


def test_the_recipe_hash_leaves_out_the_seed(recipe_file: Path) -> None:
    base = recipes.read(recipe_file)
    assert base.sha256 == recipes.read(recipe_file, ["seed=7"]).sha256
    assert base.sha256 != recipes.read(recipe_file, ["epochs=4"]).sha256


def test_auto_precision_is_decided_before_training(recipe_file: Path) -> None:
    import torch

    recipe = recipes.read(recipe_file, ["precision=auto"]).resolved(torch.device("cpu"))
    assert recipe.precision in ("float32", "bfloat16")


def test_a_recipe_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: intl-cifar10\nsummary: mine\nsettings: {iterations: 5}\noptim: {lr: 0.1}\ndata: cifar100\n")
    base, mine = recipes.read("intl-cifar10"), recipes.read(path, ["optim.floor=0"])
    assert (mine.name, mine.summary, mine.data, mine.targets) == ("mine", "mine", "cifar100", ())
    assert mine.optim == base.optim.model_copy(update={"lr": 0.1, "floor": 0.0})
    assert mine.settings == {**base.settings, "iterations": 5}
    assert (mine.views, mine.projector, mine.epochs) == (base.views, base.projector, base.epochs)


def test_a_base_of_another_method_keeps_its_settings_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: cwrgp-cifar10\nsummary: mine\nmethod: vicreg\n")
    assert recipes.read(path).settings == recipes.METHODS.load("vicreg").Config().model_dump()


def test_bases_that_go_round_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "round.yaml"
    path.write_text(f"base: {path}\nsummary: round\n")
    with pytest.raises(UserError, match="its own base"):
        recipes.read(path)


def test_a_stated_image_range_is_part_of_a_recipe_and_the_usual_one_leaves_no_trace(recipe_file: Path) -> None:
    base = recipes.read(recipe_file)
    assert "image_range" not in base.model_dump()
    stated = recipes.read(recipe_file, ["image_range=[0, 65535.0]"])
    assert stated.model_dump()["image_range"] == (0, 65535)
    assert stated.sha256 != base.sha256


def test_16_bits_are_trained_on_by_the_stated_range(recipe_file: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for i, name in enumerate(("a", "b")):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8), 257 * (50 + i), np.uint16)).save(tmp_path / split / name / "0.png")
    asked = [f"data={tmp_path}/", "limit=null"]
    with pytest.raises(UserError, match="--image-range LOW HIGH"):
        BadImageReplacer(session.training_images(recipes.read(recipe_file, asked), tmp_path), 5, tmp_path).images.image(
            0
        )
    asked += RecipeOptions(image_range=(0.0, 65535.0)).overrides()
    found = session.training_images(recipes.read(recipe_file, asked), tmp_path)
    assert [found.pixels(i).max() for i in range(2)] == [50, 51]
