"""Every case in a folder of cases: skeletons of real files, with the features of the sources' own networks."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transferbench.checkpoints.load import load
from transferbench.errors import UserError

PLACES = [Path(os.environ.get("TRANSFERBENCH_CASES", "/nowhere"))]
PLACES += [parent / "shared/spec/checkpoint_cases" for parent in Path(__file__).resolve().parents[3:6]]
FOLDER = next((place for place in PLACES if (place / "make_cases.py").is_file()), None)
"""The cases and their generator, beside the checkout or where TRANSFERBENCH_CASES says."""
CASES = sorted(FOLDER.glob("*.json")) if FOLDER else [Path("none")]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="no folder of cases: set TRANSFERBENCH_CASES"),
]


@pytest.fixture(scope="module")
def generator() -> Any:
    assert FOLDER is not None
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("make_cases", FOLDER / "make_cases.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_is_loaded_with_its_features_or_refused(path: Path, generator: Any, tmp_path: Path) -> None:
    generator.make(str(path), str(tmp_path), feats=True)
    folder = tmp_path / path.stem
    expected = json.loads((folder / "expect.json").read_text())
    file = folder / expected["file"]
    if expected["must_refuse"]:
        with pytest.raises(UserError):
            load(file)
        return
    shape = expected["input"]
    seeded = torch.Generator().manual_seed(shape["seed"])
    images = torch.randn(shape["n"], shape["ch"], shape["size"], shape["size"], generator=seeded)
    for label, encoder in expected["encoders"].items():
        candidate = load(file, encoder=None if label == expected["default_encoder"] else label)
        state = candidate.backbone.state_dict()
        weights = torch.load(folder / encoder["file"])
        assert all(torch.equal(state[n], tensor.to(state[n].dtype)) for n, tensor in weights.items())
        features = np.load(folder / encoder["features"])
        with torch.no_grad():
            found = candidate.backbone(images).numpy()
        assert np.abs(found - features).max() <= 1e-4 * np.abs(features).max()
    for made in folder.iterdir():
        made.unlink()
