"""What must survive: SIGKILL, Ctrl-C, and everything a person can get wrong."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from processes import lines, wait_for_steps

from decorssl import cli

QUIET = ["--knn-every", "0", "--watch-every", "0", "--views", "pil"]
Command = Callable[..., subprocess.CompletedProcess[str]]


def start(recipe: Path, out: Path) -> forked.Fork:
    """A run that saves after every step, in a process group of its own as a terminal would make it."""
    options = ["--recipe", recipe, "--out", out, "--save-seconds", "0", "--workers", "1", *QUIET]
    return forked.command(cli.main, "intl", *options, "--resume", "--set", "epochs=4")


@pytest.fixture(scope="module")
def unbroken(pretrain: Command, recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    done = start(recipe_path, folder).finish()
    assert done.returncode == 0, done.stderr
    return folder


def killed_and_gone_on_with(recipe: Path, folder: Path, counts: list[int]) -> None:
    """A run that SIGKILL ends whenever so many lines stand in its log, and that is then brought to its end."""
    for count in counts:
        run = start(recipe, folder)
        wait_for_steps(folder, count, run)
        run.signal_all(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    assert start(recipe, folder).wait() == 0


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([3, 15], id="2"),
        pytest.param(sorted(random.Random(0).sample(range(1, 25), 20)), id="20", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_and_ends_bit_identical(
    counts: list[int], unbroken: Path, recipe_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    killed_and_gone_on_with(recipe_path, folder, counts)
    assert (folder / "backbone.safetensors").read_bytes() == (unbroken / "backbone.safetensors").read_bytes()
    assert [line["step"] for line in lines(folder)] == list(range(1, 29))
    assert [line["loss"] for line in lines(folder)] == [line["loss"] for line in lines(unbroken)]
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")], "leftovers of states"


FULL = """
mount -t tmpfs -o size=1700k small "$1" || exit 77
shift
"$@"; echo "exit code $?"
ls -l "$RUN"
mount -o remount,size=50m small
exec "$@"
"""


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_two_whole_states_and_room_lets_it_go_on(
    recipe_path: Path, tmp_path: Path
) -> None:
    """A disk of 1.7 MB for states of 0.6 MB, in a mount namespace of its own; then a larger one."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, timeout=60).returncode:
        pytest.skip("no mount namespaces here; test_states.py injects the error")
    folder = tmp_path / "small" / "run"
    folder.parent.mkdir()
    options = ["--out", str(folder), "--save-seconds", "0", "--workers", "0", "--knn-every", "0", "--resume"]
    command = [sys.executable, "-m", "decorssl", "intl", "--recipe", str(recipe_path), *options]
    line = ["unshare", "-rm", "bash", "-c", FULL, "bash", str(folder.parent), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RUN": str(folder)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode == 77:
        pytest.skip("no tmpfs can be mounted here; test_states.py injects the error")
    assert done.returncode == 0, done.stderr
    assert "exit code 2" in done.stdout
    assert "No space left on device. A state takes 0." in done.stderr
    assert "Traceback" not in done.stderr
    assert "Resuming after step" in done.stdout
    assert "The backbone is" in done.stdout


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(unbroken: Path, recipe_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = start(recipe_path, folder)
    wait_for_steps(folder, 2, run)
    run.signal_all(signal.SIGINT)
    stopped = run.finish()
    assert stopped.returncode == 130, stopped.stderr
    assert "--resume" in stopped.stdout
    assert not (folder / "backbone.safetensors").exists()
    assert start(recipe_path, folder).wait() == 0
    assert (folder / "backbone.safetensors").read_bytes() == (unbroken / "backbone.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["intel"], "Did you mean 'intl'?"),
        (
            ["intl", "--set", "epochs=-3", "--set", "optim.lrr=1", "--set", "settings.iteratons=3"],
            "Did you mean 'iterations'?",
        ),
        (["intl", "--recipe", "intl-cifar10", "--data", "EMPTY"], "EMPTY"),
        (["intl", "--device", "cuda:99"], "GPU"),
    ],
)
def test_bad_input_is_a_clear_error_and_leaves_nothing(
    arguments: list[str], expected: str, pretrain: Command, tmp_path: Path
) -> None:
    (tmp_path / "EMPTY").mkdir()
    out = tmp_path / "out"
    done = pretrain(*[a if a != "EMPTY" else tmp_path / a for a in arguments], "--out", out)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_folder_with_another_run_is_not_overwritten(unbroken: Path, recipe_path: Path, pretrain: Command) -> None:
    before = (unbroken / "recipe.json").read_bytes()
    fresh = pretrain("intl", "--recipe", recipe_path, "--out", unbroken)
    other = pretrain("intl", "--recipe", recipe_path, "--out", unbroken, "--resume", "--set", "epochs=3")
    assert (fresh.returncode, other.returncode) == (2, 2)
    assert "already holds a run" in fresh.stderr
    assert "epochs: 4 there, 3 now" in other.stderr
    assert (unbroken / "recipe.json").read_bytes() == before


def test_a_corrupt_image_is_named(digit_folder: Path, recipe_path: Path, pretrain: Command, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "broken"
    shutil.copytree(digit_folder, copy)
    victim = next((copy / "train" / "digit1").iterdir())
    victim.write_bytes(victim.read_bytes()[:40])
    done = pretrain("intl", "--recipe", recipe_path, "--data", copy, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert victim.name in done.stderr
    assert "Traceback" not in done.stderr
