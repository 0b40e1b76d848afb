"""The files in CONTRIBUTING.md work as they stand: written into a folder elsewhere and used through the registries."""

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from decorssl import recipe
from decorssl.encoder import Encoder
from decorssl.loop import Training
from transferbench import backbones, plugins
from transferbench.checkpoints import Card, load
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.save import save
from transferbench.data import open_split
from transferbench.errors import UserError
from transferbench.runtime import Runtime
from transferbench.suite import SuiteEntry
from transferbench.tasks import TASKS, Bench, Dataset

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^\$ python -m (.+)$", TEXT, re.MULTILINE)
SMALL = ["limit=32", "epochs=1", "batch_size=16", "precision=float32", "data=lab.stripes"]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all files of the text, current and on the import path."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        importlib.invalidate_caches()
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "lab"]:
        del sys.modules[name]


def trained(name: str) -> Training:
    """Two steps of a recipe, on a few images of the data set of the text."""
    chosen = recipe.read(name, SMALL)
    images = open_split(chosen.data, chosen.split, Path()).subset(np.arange(32), "few")
    training = Training(chosen, images, Runtime(torch.device("cpu")), way="batched")
    assert all(step.terms["loss"].isfinite() for step in training.steps())
    return training


def test_the_commands_name_files_of_the_text_and_nothing_is_left_untold() -> None:
    named = {f"lab/{name}.py" for line in [*COMMANDS, *FILES.values()] for name in re.findall(r"\blab\.(\w+)", line)}
    recipes = {name for line in COMMANDS for name in re.findall(r"lab/[\w-]+\.yaml", line)}
    assert named | recipes | {"lab/write_twins.py"} == FILES.keys()
    assert len(COMMANDS) == 5


def test_the_method_trains_and_tells_copies_from_decorrelated_channels(elsewhere: Path) -> None:
    training = trained("lab/decorrelated-digits.yaml")
    assert training.recipe.method == "lab.decorrelated"
    method = training.method
    x = torch.linalg.qr(torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    x = torch.linalg.qr(x - x.mean(0))[0]
    assert method.correlation(method.standardized(x)) < 1e-6  # pyright: ignore[reportAttributeAccessIssue]
    copies = method.standardized(x[:, :1].repeat(1, 3))  # pyright: ignore[reportAttributeAccessIssue]
    assert 0.99 < method.correlation(copies) <= 1  # pyright: ignore[reportAttributeAccessIssue]


def test_the_data_set_and_the_task_judge_a_candidate(elsewhere: Path, tmp_path: Path, tiny_candidate) -> None:
    train, test = (open_split("lab.stripes", split, tmp_path) for split in ("train", "test"))
    assert train.fingerprint != test.fingerprint
    with pytest.raises(UserError, match="Known: test, train"):
        open_split("lab.stripes", "val", tmp_path)
    task, bench = TASKS.load("lab.centroids"), Bench(Runtime(torch.device("cpu")), tmp_path, tmp_path)
    config = SuiteEntry(task="lab.centroids").config(["lab.centroids.centered=false"])
    outcome = task.run(tiny_candidate, Dataset(train, test), config, 0, bench)
    kept = np.load(outcome.artifacts["predictions"])
    assert outcome.scores[0].value == 100 * (kept["predictions"] == kept["labels"]).mean()
    assert outcome.scores[0].interval[0] > test.info.chance


def test_class_means_are_what_the_task_says(elsewhere: Path) -> None:
    features = np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    means = TASKS.load("lab.centroids").class_means(features, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(means, [[1, 0], [0, 0], [0, 1]])


def test_the_layout_finds_the_network_that_its_source_judges(elsewhere: Path) -> None:
    runpy.run_path("lab/write_twins.py")
    with pytest.raises(UserError, match="holds 2 networks"):
        load.load("twins.pth")
    found = inspect("twins.pth", overrides=["format=lab.twins"])
    assert (found.format, found.encoder) == ("lab.twins", "ema (right: trunk.)")
    assert (found.architecture_name, found.preprocess.crop, found.origin.epochs) == ("resnet18", 32, 3)
    with pytest.raises(UserError, match=r"not of the format moco"):
        load.load("twins.pth", overrides=["format=moco"])


def test_the_family_is_trained_and_its_checkpoint_read_by_who_allows_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = trained("lab/mixer-digits.yaml")
    encoder = training.encoder
    assert isinstance(encoder, Encoder)
    architecture = encoder.backbone.architecture
    family = backbones.FAMILIES.load("lab.convmixer")
    (proposed,) = family.propose(backbones.expected_shapes(architecture))
    assert proposed == architecture.arguments
    assert architecture.name == "lab.convmixer depth=2 dim=32 kernel=3 patch=4"
    path = elsewhere / "backbone.safetensors"
    card = Card(architecture=architecture, preprocess=training.recipe.preprocess)
    identity = save(path, encoder.backbone.state_dict(), card)
    monkeypatch.setattr(plugins, "_NAMED", {})  # as in a process in which nobody has named it yet
    for other in ("lab.stripes", "lab/stripes.py"):
        plugins.allow(other)
        with pytest.raises(UserError, match=r"--code lab\.convmixer"):
            load.load(path)
    plugins.allow("lab.convmixer")
    assert load.load(path).digest == identity


def test_a_card_from_elsewhere_imports_nothing_unasked(elsewhere: Path, tiny_candidate) -> None:
    (elsewhere / "lab" / "trap.py").write_text('raise RuntimeError("imported")\n')
    architecture = backbones.Architecture(family="lab.trap", arguments={})
    card = Card(architecture=architecture, preprocess=tiny_candidate.card.preprocess)
    save(elsewhere / "trap.safetensors", tiny_candidate.backbone.state_dict(), card)
    with pytest.raises(UserError, match="whose code is not part of this package"):
        load.load(elsewhere / "trap.safetensors")
    assert architecture.name == "lab.trap"
