"""The files in README.md and docs/python.md run as they stand."""

import re
from pathlib import Path

import pytest
import torch

from transferbench.checkpoints import Candidate
from transferbench.checkpoints.save import save

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text() + (ROOT / "docs" / "python.md").read_text()
FILES = dict(re.findall(r'^```python title="([^"]+)"\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL))
SHOWN = {
    "own_images.py": r"one layer sklearn-digits metric='top1' value=9\d\.",
    "pretraining.py": r"has no labels: k-NN while training is left out\.\n(.*\n)*runs/mine/backbone\.safetensors\n$",
    "features.py": r"\(200, 32\) \[.*\] digit\d+-\d \('0', '1', .*\n[0-9a-f]{64} \{'test': '[0-9a-f]{64}'\}",
    "own_loop.py": r"0 \d+\.\d+ \d+\.\d+\n1 .*\n2 .*\n$",
    "teacher_loop.py": r"(0 \d\.\d+ 0\.99\d+\n){3}(1 \d\.\d+ 0\.99\d+\n){3}$",
}
SLOW = ("own_images.py", "pretraining.py")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FILES])
def test_an_example_runs_and_shows_what_it_is_about(
    name: str,
    tiny_candidate: Candidate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save(Path("backbone.safetensors"), tiny_candidate.backbone.state_dict(), tiny_candidate.card)
    exec(compile(FILES[name], name, "exec"), {"__name__": "__main__"})
    assert re.search(SHOWN[name], capsys.readouterr().out)


def test_no_example_is_left_out():
    assert FILES.keys() == SHOWN.keys()
