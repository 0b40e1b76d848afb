"""What a run says of a recipe that it changes."""

from pathlib import Path

from decorssl.crossing import crossed
from decorssl.recipe import FOLDER, read
from decorssl.recipe_changes import changes, described, name_of


def test_what_is_changed_is_named_as_it_is_set() -> None:
    changed = read("cwrgp-stl10", ["data=./mine", "settings.w_size=32", "optim.lr=1", "seed=3"])
    assert changes(changed) == ["settings.w_size", "data", "optim.lr"]
    said = described(changed)
    assert said == "CW-RGP with the recipe cwrgp-stl10; changed: settings.w_size, data, optim.lr"
    assert name_of(changed) == "cwrgp-stl10 (changed)"


def test_a_seed_and_the_precision_of_a_machine_are_no_change() -> None:
    published = read("cwrgp-stl10", ["seed=3"]).model_copy(update={"precision": "bfloat16"})
    assert (changes(published), name_of(published)) == ([], "cwrgp-stl10")
    assert described(published) == read("cwrgp-stl10").summary


def test_a_crossed_recipe_is_compared_with_what_it_began_as_and_a_generic_one_leaves_the_data_open() -> None:
    crossing = crossed("vicreg", "intl-digits", ["epochs=3"])
    assert described(crossing) == "VICReg with the recipe intl-digits; changed: epochs"
    assert described(crossed("vicreg", "intl-digits")) == "VICReg with the recipe intl-digits"
    generic = crossed("vicreg", "small-32", ["data=./mine", "batch_size=64"], images=100)
    assert (changes(generic), name_of(generic)) == (["batch_size"], "vicreg-small-32 (changed)")


def test_a_recipe_of_ones_own_changes_nothing_whatever_its_name(tmp_path: Path) -> None:
    own = tmp_path / "cwrgp-stl10.yaml"
    own.write_text(f"base: {FOLDER / 'cwrgp-stl10.yaml'}\nsummary: mine\nepochs: 3\n")
    assert changes(read(own)) == []
    other = tmp_path / "mine.yaml"
    other.write_text("base: cwrgp-stl10\nsummary: mine\nepochs: 3\n")
    assert name_of(read(other, ["epochs=4"])) == "mine"
