"""What `pretrain` says without training anything."""

import pytest
from typer.testing import CliRunner

from decorssl import recipe as recipes
from decorssl import study
from decorssl.catalog import generic_names
from decorssl.cli import app
from decorssl.methods import METHODS
from transferbench.errors import UserError


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_method_recipe_and_study_is_listed_within_120_columns() -> None:
    lines = said("ls").splitlines()
    assert max(map(len, lines)) <= 120
    first = [line.split()[0] for line in lines if line[:2] == "  " != line[1:3]]
    assert sorted(first) == sorted([*METHODS.names(), "recipe", *recipes.names(), *generic_names(), *study.names()])


def test_a_row_gives_data_length_batch_and_the_expected_score_with_its_source() -> None:
    (row,) = (line for line in said("ls", "cwrgp").splitlines() if line.startswith("  cwrgp-tiny-imagenet "))
    assert row.split() == [
        *("cwrgp-tiny-imagenet", "tiny-imagenet", "1000", "256"),
        *("linear", "50.24,", "knn5", "35.99", "winci-ai/CW-RGP", "README"),
    ]


def test_a_recipe_without_a_published_score_says_so() -> None:
    assert "wmse-stl10                  stl10           2000   256  none stated\n" in said("ls", "wmse")


def test_the_list_can_be_narrowed_to_one_method() -> None:
    text = said("ls", "intl")
    assert "intl-cifar100" in text
    assert "wmse" not in text
    with pytest.raises(UserError, match="Did you mean 'intl'"):
        said("ls", "intel")


def test_a_word_too_many_is_not_swallowed() -> None:
    with pytest.raises(UserError, match="Unexpected argument 'cifar10'"):
        said("intl", "cifar10", "--recipe", "there-is-none")


def test_the_list_says_of_every_recipe_what_its_settings_say() -> None:
    """It is made from the files alone: reading the settings would import torch."""
    lines = {line.split()[0]: line.split() for line in said("ls").splitlines() if line.startswith("  ")}
    for name in recipes.names():
        recipe = recipes.read(name)
        assert lines[name][1:4] == [recipe.data, str(recipe.epochs), str(recipe.batch_size)]
        assert recipe.name == name
        assert all(f"{target.value:g}" in " ".join(lines[name]) for target in recipe.targets)
