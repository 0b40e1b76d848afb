"""Jobs for SLURM's queue: what the script says, and stand-ins for sbatch that take or refuse it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from transferbench.errors import UserError
from transferbench.runtime import slurm
from transferbench.runtime.slurm import SlurmRequest, Work

SBATCH = """#!/bin/bash
if grep -q 'partition=closed' "$2"; then echo "sbatch: error: invalid partition specified: closed" >&2; exit 1; fi
echo "$@" > "{called}"
echo "4711;cluster"
"""


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for sbatch on the PATH; the file that its arguments come to stand in."""
    path = tmp_path / "bin" / "sbatch"
    path.parent.mkdir()
    path.write_text(SBATCH.format(called=tmp_path / "called"))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    return tmp_path / "called"


SRUN = """#!/bin/bash
"$@"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "{called}"
"""


@pytest.mark.parametrize(("code", "requeued"), [(138, "requeue 4711\n"), (143, ""), (1, ""), (0, "")])
def test_a_job_that_saved_because_its_time_is_up_is_queued_again_and_no_other(
    code: int, requeued: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for srun and scontrol."""
    called = tmp_path / "called"
    called.touch()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL.format(called=called)}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "ending.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(int(sys.argv[2]))\n")
    monkeypatch.chdir(tmp_path)
    text = slurm.script(Work("x", "ending", ["a b", str(code)]), slurm.read("gpus=1"), tmp_path / "job.sh")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "4711"}
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, f"['a b', '{code}']\n")
    assert called.read_text() == requeued


def test_an_array_job_takes_the_checkpoint_of_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "shown.py").write_text("import sys\nprint(sys.argv[1:])\n")
    monkeypatch.chdir(tmp_path)
    work = Work("x", "shown", ["all", "--out", "r"], ["a.pth", "b $c.pth"])
    text = slurm.script(work, slurm.read("gpus=1"), tmp_path / "job.sh")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "1"}
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "['all', 'b $c.pth', '--out', 'r']\n"


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_a_request_is_read_from_one_word() -> None:
    found = slurm.read("nodes=2,gpus=8,time=1-02:00:00,partition=long")
    assert found == SlurmRequest(nodes=2, gpus=8, time="1-02:00:00", partition="long")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nodes", "found 'nodes' without a value"),
        ("node=2", "Did you mean 'nodes'"),
        ("nodes=0,time=soon", r"(?s)nodes: found '0'.*time: found 'soon'"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        slurm.read(text)


def test_the_script_asks_for_a_task_a_gpu_a_warning_and_to_be_queued_again(tmp_path: Path) -> None:
    work = Work("pretrain intl", "decorssl", ["intl", "--out", "a b"])
    text = slurm.script(work, slurm.read("nodes=2,gpus=8,time=24:00:00,warn=300,account=me"), tmp_path / "job.sh")
    assert set(directives(text)) == {
        "--job-name=pretrain-intl", "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--time=24:00:00",
        "--signal=USR1@300", "--account=me", f"--output={tmp_path}/%j.out", "--open-mode=append", "--requeue",
    }  # fmt: skip
    assert f"srun {sys.executable} -m decorssl intl --out 'a b'\n" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, timeout=60).returncode == 0


def test_without_gpus_there_is_one_process_a_node(tmp_path: Path) -> None:
    text = slurm.script(Work("x", "m", ["x"]), slurm.read("gpus=0,cpus=16"), tmp_path / "job.sh")
    assert {"--ntasks-per-node=1", "--cpus-per-task=16"} <= set(directives(text))
    assert "gpus-per-node" not in text


def test_checkpoints_become_an_array_and_are_taken_out_of_the_command(
    evaluate: Callable[..., tuple[int, str, str]], called: Path
) -> None:
    given = ["all", "--again", "a.pth", "--data", "b c.pth", "b c.pth", "--slurm", "gpus=1,time=2:00:00", "--out", "r"]
    code, out, err = evaluate(*given)
    assert code == 0, err
    assert "Job 4711, an array of 2" in out
    script = Path("r/slurm/job.sh")
    assert called.read_text().split() == ["--parsable", str(script.resolve())]
    text = script.read_text()
    assert "--array=0-1" in directives(text)
    assert "ITEMS=(a.pth 'b c.pth')" in text
    command = """-m transferbench all "${ITEMS[$SLURM_ARRAY_TASK_ID]}" --again --data 'b c.pth' --out r\n"""
    assert f"srun {sys.executable} {command}" in text


def test_what_sbatch_refuses_is_told_and_so_is_its_absence(
    called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work("x", "m", ["x"])
    with pytest.raises(UserError, match="invalid partition specified: closed"):
        slurm.submit(work, slurm.read("partition=closed"), tmp_path / "slurm")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="not on this machine"):
        slurm.submit(work, slurm.read("gpus=1"), tmp_path / "slurm")
