"""What is said of a batch or a schedule that does not fit the images, and that the advice works."""

import re
from typing import Any

import pytest
import torch

from decorssl.checks import check, notes
from decorssl.recipe import Recipe, read
from transferbench.errors import UserError
from transferbench.runtime import Runtime


def on(processes: int) -> Runtime:
    return Runtime(torch.device("cpu"), 0, processes)


def refused(recipe: Recipe, images: int, processes: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        check(recipe, images, on(processes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "images", "processes", "advice"),
    [
        ("intl-cifar10", 60, 1, ["batch_size=32"]),
        ("cwrgp-stl10", 60, 1, ["batch_size=32", "settings.w_size=32"]),
        ("cwrgp-stl10", 100, 1, ["batch_size=64"]),
        ("cwrgp-stl10", 100, 2, ["batch_size=64", "settings.w_size=32"]),
        ("wmse-cifar10", 200, 1, ["batch_size=128"]),
        ("intl-cifar10", 60, 3, ["batch_size=48"]),
        ("cwrgp-stl10", 60, 3, ["batch_size=48", "settings.w_size=16"]),
    ],
)
def test_the_advice_for_a_batch_of_more_images_than_there_are_is_a_batch_that_the_method_takes(
    name: str, images: int, processes: int, advice: list[str]
) -> None:
    changes = {"precision": "float32"}
    said = refused(read(name).model_copy(update=changes), images, processes)
    assert re.findall(r"--set (\S+\d)", said) == advice
    check(read(name, advice).model_copy(update=changes), images, on(processes))


@pytest.mark.parametrize(("images", "processes", "least"), [(1, 1, 2), (5, 3, 6)])
def test_too_few_images_for_any_batch_are_refused(images: int, processes: int, least: int) -> None:
    assert refused(read("intl-cifar10"), images, processes).endswith(
        f"Train on {least} images at least, two for each process."
    )


def test_where_no_smaller_batch_works_the_method_says_why() -> None:
    said = refused(read("wmse-cifar10"), 60)
    assert "With 32 wmse then says: Each process sees 32 images" in said


def test_parts_that_do_not_divide_a_smaller_batch_are_left_out() -> None:
    assert "--set batch_size=32 --set micro_batch_size=null" in refused(
        read("intl-cifar10", ["micro_batch_size=64"]), 60
    )


def test_a_batch_that_sub_batches_do_not_fill_is_told_a_size_that_does() -> None:
    advice = "settings.w_size=48"
    assert f"--set {advice}." in refused(read("cwrgp-stl10", ["batch_size=96"]), 1000)
    check(read("cwrgp-stl10", ["batch_size=96", advice, "precision=float32"]), 1000, on(1))


def test_a_schedule_for_a_longer_run_is_told_with_what_fits() -> None:
    warmup, drops = notes(read("cwrgp-stl10", ["epochs=12"]), 1)
    assert "takes 500 steps, but the run has 12 (1 an epoch): the learning rate reaches 2.4 % of its value" in warmup
    assert "drops 50, 25 epochs before the end, but the run has 12: it begins at 4 %" in drops
    found = re.findall(r"--set '?(\S+=(?:\[[^]]*\]|\d+))", f"{warmup} {drops}")
    assert found == ["optim.warmup_steps=1", "optim.drops_before_end=[6, 3]"]
    assert notes(read("cwrgp-stl10", ["epochs=12", *found]), 1) == []
    assert notes(read("cwrgp-stl10", ["epochs=51"]), 100) == []
    assert "drops 50 epochs before the end, but the run has 50" in notes(read("cwrgp-stl10", ["epochs=50"]), 100)[0]
    (one,) = notes(read("cwrgp-stl10", ["epochs=40", "optim.warmup_steps=2"]), 1)
    assert "drops 50 epochs before the end, but the run has 40: it begins at 20 %" in one


@pytest.mark.parametrize(("epochs", "said"), [(1, "optim.warmup_epochs=0.1"), (2, ""), (20, "")])
def test_a_warm_up_in_epochs_is_advised_in_epochs(epochs: int, said: str) -> None:
    found: Any = notes(read("intl-cifar10", [f"epochs={epochs}"]), 10)
    assert [said in note for note in found] == [True] * bool(said)
