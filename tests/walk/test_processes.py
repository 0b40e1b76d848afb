"""Drills of several processes: one is killed and torchrun starts them anew, two nodes, fewer go on, SLURM's queue.

Short ones are in tests/pretrain/test_processes.py and tests/evaluate/runtime/test_slurm.py.

SLURM itself is not here: `sbatch`, `srun` and `scontrol` are stand-ins, shell scripts that set the variables which the
true ones set.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from processes import lines

pytestmark = pytest.mark.slow
TWO = ["--standalone", "--nproc-per-node=2"]
SHORT = ("--set", "epochs=4")
STEPS = 28


def backbone(folder: Path) -> bytes:
    """The weights, without the header, which names the commit."""
    content = (folder / "backbone.safetensors").read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


@pytest.fixture(scope="module")
def undisturbed(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    processes.finished(processes.torchrun(TWO, processes.command(recipe_path, folder, *SHORT)))
    return folder


def test_a_killed_process_is_started_anew_with_its_peer_and_the_result_is_the_same(
    undisturbed: Path, recipe_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run = processes.torchrun([*TWO, "--max-restarts=2"], processes.command(recipe_path, folder, *SHORT))
    processes.wait_for_steps(folder, 3, run)
    os.kill(processes.children(run.pid)[1], signal.SIGKILL)
    told = processes.finished(run)
    assert "Resuming after step" in told
    assert [line["step"] for line in lines(folder)] == list(range(1, STEPS + 1))
    assert [line["loss"] for line in lines(folder)] == [line["loss"] for line in lines(undisturbed)]
    assert backbone(folder) == backbone(undisturbed)


def test_two_nodes_are_one_run(undisturbed: Path, recipe_path: Path, tmp_path: Path) -> None:
    """Two agents of torchrun on the loopback, one process each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    arguments = processes.command(recipe_path, tmp_path / "run", *SHORT)
    meet = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
    nodes = [processes.torchrun([*meet, f"--node-rank={rank}"], arguments) for rank in range(2)]
    assert [("The backbone is" in processes.finished(node)) for node in nodes] == [True, False]
    assert backbone(tmp_path / "run") == backbone(undisturbed)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (4, 2)])
def test_fewer_processes_go_on_with_the_same_schedule_and_say_what_differs(
    before: int, after: int, undisturbed: Path, recipe_path: Path, tmp_path: Path
) -> None:
    """SIGTERM to torchrun, as a cluster sends it: its processes save after their step.

    Only the first losses after it are compared: this run makes a tenth of a difference of 1e-7 within ten steps.
    """
    folder, as_before = tmp_path / "run", tmp_path / "as before"
    run = processes.torchrun(
        ["--standalone", f"--nproc-per-node={before}"], processes.command(recipe_path, folder, *SHORT)
    )
    processes.wait_for_steps(folder, 5, run)
    run.send_signal(signal.SIGTERM)
    told = run.communicate(timeout=120)[0]
    assert run.returncode != 0
    assert "Stopped by SIGTERM and saved" in told
    shutil.copytree(folder, as_before)
    done = len(processes.logged(folder))
    for out, count in ((as_before, before), (folder, after)):
        arguments = processes.command(recipe_path, out, *SHORT)
        told = processes.finished(processes.torchrun(["--standalone", f"--nproc-per-node={count}"], arguments))
    assert f"Saved by {before} processes, resumed by {after}: schedule" in told
    found, expected = lines(folder), lines(as_before)
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    assert [line["lr"] for line in found] == [line["lr"] for line in lines(undisturbed)]
    for place, tolerance in ((done, 1e-5), (done + 1, 1e-3)):
        assert found[place]["loss"] == pytest.approx(expected[place]["loss"], rel=tolerance)


SBATCH = """#!/bin/bash
cp "$2" "$QUEUE/queued"
echo 4711
"""
SRUN = """#!/bin/bash
worst=0 n=$(grep -oP '(?<=ntasks-per-node=)\\d+' "$QUEUE/queued")
export SLURM_NTASKS=$n SLURM_STEP_ID=0 SLURM_JOB_NODELIST="localhost,other[1-3]"
for ((i = 0; i < n; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
echo "${pids[@]}" > "$QUEUE/tasks.new" && mv "$QUEUE/tasks.new" "$QUEUE/tasks"
for pid in "${pids[@]}"; do wait "$pid"; code=$?; ((code > worst)) && worst=$code; done
exit "$worst"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$QUEUE/requeued"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for SLURM's commands on the PATH; the folder that they work in."""
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    return tmp_path


def job(cluster: Path) -> subprocess.Popen[str]:
    """What SLURM does with a queued script."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2"}
    return subprocess.Popen(["bash", str(cluster / "queued")], env=environment, stdout=subprocess.PIPE, text=True)


def test_a_job_whose_time_is_up_saves_is_queued_again_and_ends_as_if_undisturbed(
    undisturbed: Path, recipe_path: Path, cluster: Path
) -> None:
    folder = cluster / "run"
    request = ["--slurm", "nodes=1,gpus=2,time=0:10:00"]
    line = [sys.executable, *processes.command(recipe_path, folder, *SHORT), *request]
    submitted = subprocess.run(line, capture_output=True, text=True, check=True, timeout=240)
    assert "Job 4711: " in submitted.stdout
    assert not (folder / "steps.jsonl").exists()
    first = job(cluster)
    processes.wait_for_steps(folder, 4, first)
    for pid in (cluster / "tasks").read_text().split():
        os.kill(int(pid), signal.SIGUSR1)
    told = first.communicate(timeout=120)[0]
    assert first.returncode == 128 + signal.SIGUSR1, told
    assert "Stopped by SIGUSR1 and saved" in told
    assert (cluster / "requeued").read_text() == "requeue 4711\n"
    processes.finished(job(cluster))
    assert (cluster / "requeued").read_text() == "requeue 4711\n"
    assert backbone(folder) == backbone(undisturbed)
