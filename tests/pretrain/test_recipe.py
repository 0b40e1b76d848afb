"""Recipes: those that come along are whole, and misfits are told all at once."""

from pathlib import Path

import pytest

from decorssl import recipe as recipes
from transferbench.errors import UserError


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_reads_back_from_what_it_resolves_to(name: str, tmp_path: Path) -> None:
    recipe = recipes.read(name)
    path = tmp_path / "recipe.json"
    path.write_text(recipe.model_dump_json())
    assert recipes.read(path) == recipe
    assert recipe.name == name


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


def test_an_unknown_method_suggests_the_near_one() -> None:
    with pytest.raises(UserError, match=r"Unknown method 'intel'\. Did you mean 'intl'\?"):
        recipes.for_method("intel", "digits")


def test_data_without_a_recipe_names_the_recipes() -> None:
    with pytest.raises(UserError, match="intl-cifar10"):
        recipes.for_method("intl", "/somewhere/birds.zip")


def test_the_recipe_hash_leaves_out_the_seed(recipe_file: Path) -> None:
    base = recipes.read(recipe_file)
    assert base.sha256 == recipes.read(recipe_file, ["seed=7"]).sha256
    assert base.sha256 != recipes.read(recipe_file, ["epochs=4"]).sha256


def test_auto_precision_is_decided_before_training(recipe_file: Path) -> None:
    import torch

    recipe = recipes.read(recipe_file, ["precision=auto"]).resolved(torch.device("cpu"))
    assert recipe.precision in ("float32", "bfloat16")


def test_drops_come_at_epochs_from_the_end_after_a_warmup_in_steps() -> None:
    optim = recipes.read("cwrgp-cifar10").optim
    rates = {epoch: optim.rate(epoch * 195, 195, 1000, 256) for epoch in (0, 1, 3, 949, 950, 974, 975)}
    assert rates[0] == pytest.approx(3e-3 / 500)
    assert rates[1] == pytest.approx(3e-3 * 196 / 500)
    assert [rates[epoch] for epoch in (3, 949, 950, 974, 975)] == pytest.approx([3e-3, 3e-3, 6e-4, 6e-4, 1.2e-4])
    assert optim.rate(195 * 10, 195, 1000, 512) == pytest.approx(3e-3)
