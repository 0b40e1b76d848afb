"""A run goes on with the images that it was trained on so far, and says what changed where it does not."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decorssl import image_list, runlog, session, states
from decorssl.loop import Step
from decorssl.recipe import Recipe
from transferbench import state
from transferbench.errors import UserError

PLACE = session.RunOptions("cpu", workers=0, watch_every=0, save_seconds=1000.0, views="pil")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twenty images, which differ in how many bytes their files have."""
    folder = tmp_path / "photographs"
    draw = np.random.default_rng(0)
    for i in range(20):
        place = folder / f"{i % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (12, 10 + i, 3), np.uint8)).save(place / f"{i:02d}.png")
    return folder


@pytest.fixture
def mine(recipe: Recipe, photographs: Path) -> Recipe:
    return recipe.model_copy(update={"data": str(photographs)})


def stopped(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was told to stop after its third step."""
    add = runlog.RunLog.add

    def add_and_signal(log: runlog.RunLog, step: Step) -> None:
        add(log, step)
        if step.index == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(runlog.RunLog, "add", add_and_signal)
        assert session.run(recipe, folder, False, PLACE, lambda text: None) == signal.SIGTERM
    return folder


def resumed(recipe: Recipe, folder: Path) -> list[str]:
    said: list[str] = []
    assert session.run(recipe, folder, True, PLACE, said.append) == 0
    return said


def refusal(recipe: Recipe, folder: Path) -> str:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError) as caught:
        resumed(recipe, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    return str(caught.value)


def test_a_stopped_run_on_the_same_images_goes_on_bit_identically(
    mine: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session.run(mine, tmp_path / "whole", False, PLACE, lambda text: None) == 0
    folder = stopped(mine, tmp_path / "run", monkeypatch)
    for path in photographs.glob("*/*"):
        os.utime(path, (1, 1))
    assert "Resuming after step 3" in resumed(mine, folder)
    whole, ended = (tmp_path / name / runlog.BACKBONE for name in ("whole", "run"))
    assert whole.read_bytes() == ended.read_bytes()


def test_images_that_are_gone_new_or_others_are_named(
    mine: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(mine, tmp_path / "run", monkeypatch)
    (photographs / "0/03.png").rename(tmp_path / "kept.png")
    told = refusal(mine, folder)
    assert "was trained on 20 images, and photographs is not the same now (19 images), so it cannot be resumed" in told
    assert "\n  1 removed: 0/03.png\nPut the same images back" in told
    for i in range(4):
        Image.new("RGB", (8, 8)).save(photographs / f"new{i}.png")
    Image.new("RGB", (8, 8)).save(photographs / "1/01.png")
    told = refusal(mine, folder)
    assert "(23 images)" in told
    assert "\n  1 removed: 0/03.png\n  4 added: new0.png, new1.png, new2.png, ...\n  1 changed: 1/01.png\n" in told
    (folder / image_list.FILE).write_bytes(b"\x1f\x8bdamaged")
    assert "\n  which ones changed is not known: there is no whole images.tsv.gz in the folder\n" in refusal(
        mine, folder
    )


def test_a_batch_that_follows_from_the_number_of_images_is_told_with_them(
    mine: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(mine, tmp_path / "run", monkeypatch)
    smaller = mine.model_copy(update={"batch_size": 4})
    assert refusal(smaller, folder).endswith("or choose another --out.")
    (photographs / "0/03.png").unlink()
    told = refusal(smaller, folder)
    assert "batch_size: 8 there, 4 now" in told
    assert "\nThe images changed too, on which settings may depend: 1 removed: 0/03.png. Put the same images" in told


def test_a_run_that_an_earlier_version_saved_goes_on_with_a_warning(
    mine: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(mine, tmp_path / "run", monkeypatch)
    kept = (folder / image_list.FILE).read_bytes()
    (path,) = states.paths(folder)
    state.save(path, {name: value for name, value in state.load(path).items() if name != "data"})
    (folder / image_list.FILE).unlink()
    said = resumed(mine, folder)
    assert sum("does not say which images it was trained on so far" in line for line in said) == 1
    assert (folder / image_list.FILE).read_bytes() == kept, "from now on it does"


def test_an_order_or_labels_alone_are_told_as_such(photographs: Path, tmp_path: Path) -> None:
    recipe_images = session.open_split(str(photographs), "train", tmp_path)
    image_list.write(tmp_path, recipe_images)
    before = {"images": 20, "fingerprint": recipe_images.fingerprint}
    turned = recipe_images.subset(np.arange(20)[::-1], "turned")
    for images, told in (
        (turned, "the same names in another order"),
        (replace(recipe_images, fingerprint="0"), "the same names, with other contents or labels"),
    ):
        with pytest.raises(UserError, match=told):
            image_list.require_same(tmp_path, images, before, print)
    odd = replace(recipe_images, names=[f"a\n\udce9\t{i // 2}" for i in range(20)], fingerprint="0")
    image_list.write(tmp_path, odd)
    with pytest.raises(UserError, match="the same names, with other"):
        image_list.require_same(tmp_path, odd, before, print)
