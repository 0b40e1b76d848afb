"""Pretraining from Python, on images that are handed over."""

import json
from pathlib import Path

import pytest
import torch

import decorssl
import transferbench
from decorssl import image_list, runlog, session
from transferbench.checkpoints.inspect import inspect
from transferbench.errors import UserError

HERE = session.RunOptions("cpu", workers=0, watch_every=0, views="pil")


def test_images_without_labels_are_trained_on_and_held_to_their_pixels(recipe_file: Path, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (20, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    said: list[str] = []

    def train(images: torch.Tensor, out: str, resume: bool = False) -> Path:
        data = transferbench.images_of(torch.utils.data.TensorDataset(images), name="mine")
        place = {"out": tmp_path / out, "resume": resume, "options": HERE, "say": said.append}
        return decorssl.train("intl", data, recipe=str(recipe_file), overrides=["epochs=1"], **place)

    path = train(pixels, "run")
    assert path == tmp_path / "run" / runlog.BACKBONE
    assert inspect(path).origin.data == "mine"
    assert said[0] == "mine has no labels: k-NN while training is left out."
    assert json.loads((path.parent / runlog.RECIPE).read_text())["data"] == "mine"
    path.unlink()
    with pytest.raises(UserError, match=r"(?s)1 changed: train/0000003\n"):
        train(torch.cat([pixels[:3], 255 - pixels[3:4], pixels[4:]]), "run", resume=True)
    assert (path.parent / image_list.FILE).is_file()


def test_images_with_labels_are_watched(recipe_file: Path, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (20, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pairs = torch.utils.data.TensorDataset(pixels, torch.arange(20) % 2)
    said: list[str] = []
    data = transferbench.data_of(train=pairs, test=pairs, name="mine")
    where = {"overrides": ["epochs=1"], "out": tmp_path / "run", "options": HERE, "say": said.append}
    path = decorssl.train("intl", data, recipe=str(recipe_file), **where)
    assert "mine/test: 20 of the 20 images are training images too, pixel for pixel." in said
    assert any(line.startswith("epoch 1: k-NN") for line in said)
    assert said[-1].endswith(f"transferbench.evaluate({str(path)!r}, data=...)")
    with pytest.raises(UserError, match="trained on alone"):
        decorssl.train("intl", [data, "digits"], recipe=str(recipe_file))
