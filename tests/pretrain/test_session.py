"""A run with images that have no label, or only some of which have one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from decorssl import session
from decorssl.recipe import Recipe
from transferbench.data import LabelledImages

PLACE = session.Place("cpu", workers=0, knn_every=1, save_seconds=60.0)


@pytest.mark.parametrize("labelled", [0, 9])
def test_only_labelled_images_vote_and_none_are_asked_where_there_are_none(
    labelled: int,
    recipe: Recipe,
    tiny_images: Callable[..., LabelledImages],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, asked, said = tiny_images(24), [], []
    some = replace(train, labels=np.where(np.arange(24) < labelled, train.labels, -1))

    def open_split(data: str, split: str, root: Path) -> LabelledImages:
        asked.append(split)
        return tiny_images(8, split="test") if split == "test" else some

    monkeypatch.setattr(session, "open_split", open_split)
    recipe = recipe.model_copy(update={"split": "train+unlabeled", "epochs": 1})
    assert session.run(recipe, tmp_path / "run", False, PLACE, said.append)
    assert asked == ["train+unlabeled", "test"][: 2 if labelled else 1]
    assert any("k-NN" in line for line in said) == bool(labelled)
    assert (tmp_path / "run" / "backbone.safetensors").is_file()
