"""A recipe small enough to train for a few steps in a second."""

from pathlib import Path
from typing import Any

import pytest

YAML = """
summary: a test
method: intl
data: tiny
backbone: {family: resnet, arguments: {depth: 10, width: 0.125, stem: cifar}}
projector: {layers: 3, hidden: 32, output: 32}
views:
  - operations: &view
      - {op: crop, size: 16}
      - {op: jitter, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1}
      - {op: flip}
  - operations: *view
preprocess: {size: null, crop: 16}
optim: {lr: 1.0, weight_decay: 1.0e-4, decay_vectors: true, warmup_epochs: 1}
epochs: 3
batch_size: 8
precision: float32
"""


@pytest.fixture(scope="session")
def recipe_text() -> str:
    return YAML


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(YAML)
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Any:
    from decorssl.recipe import read

    return read(recipe_file)
