"""A small real data set on disk, a recipe for it, and the two commands as a person calls them."""

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

RECIPE = """
summary: a walk in the test suite
method: intl
data: {data}
backbone: {{family: resnet, arguments: {{depth: 10, width: 0.125, stem: cifar}}}}
projector: {{layers: 2, hidden: 32, output: 32}}
views:
  - operations: &view
      - {{op: crop, size: 16, scale: [0.5, 1]}}
      - {{op: jitter, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1}}
  - operations: *view
preprocess: {{size: null, crop: 16}}
optim: {{lr: 1.0, weight_decay: 1.0e-4, decay_vectors: true, warmup_epochs: 1}}
epochs: 4
batch_size: 16
precision: float32
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 + 60 of scikit-learn's digits 0 to 2, 16 pixels, in ImageFolder layout."""
    root = tmp_path_factory.mktemp("walk") / "small-digits"
    digits = load_digits(n_class=3)
    for i, (pixels, label) in enumerate(zip(digits.images[:180], digits.target[:180], strict=True)):
        path = root / ("train" if i < 120 else "test") / f"digit{label}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((16, 16)).save(path)
    return root


@pytest.fixture(scope="session")
def recipe_path(digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "walk.yaml"
    path.write_text(RECIPE.format(data=digit_folder))
    return path


def _command(module: str, *used: str) -> Command:
    """The command as a fork; `used` are the modules that it imports late, which every fork then has already."""
    main = importlib.import_module(f"{module}.cli").main
    for name in used:
        importlib.import_module(name)

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return forked.command(main, *arguments, cwd=cwd).finish(240)

    return call


@pytest.fixture(scope="session")
def pretrain() -> Command:
    return _command("decorssl", "decorssl.session")


@pytest.fixture(scope="session")
def evaluate() -> Command:
    return _command("transferbench", "transferbench.api", "transferbench.tables", "timm")
