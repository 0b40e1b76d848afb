"""One process among its peers, and the machine it runs on."""

import json
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from transferbench import runtime
from transferbench.errors import UserError
from transferbench.runtime import Runtime, seeded
from transferbench.runtime.launch import Launch, first_host, launch
from transferbench.runtime.meeting import own_host

ALONE = Runtime(torch.device("cpu"))


def test_each_process_knows_its_place(ranks: list[dict[str, Any]]):
    assert [rank["place"] for rank in ranks] == [[0, 2, True], [1, 2, False]]
    assert [rank["objects"] for rank in ranks] == [["rank 0", "rank 1"]] * 2
    assert [rank["any"] for rank in ranks] == [[False, True]] * 2


def test_a_loss_on_gathered_rows_has_the_gradient_of_one_process(
    ranks: list[dict[str, Any]], inputs: dict[str, torch.Tensor]
):
    """With gradients averaged over the processes, as data-parallel training does (docs/methods.md#intl)."""
    weight = inputs["weight"].clone().requires_grad_()
    rows = inputs["rows"] @ weight
    loss = (rows.T @ rows).square().sum()
    loss.backward()
    for rank in ranks:
        torch.testing.assert_close(rank["gathered"]["rows"], rows.detach())
        torch.testing.assert_close(rank["gathered"]["loss"], loss.detach())
    mean = (ranks[0]["gathered"]["gradient"] + ranks[1]["gathered"]["gradient"]) / 2
    torch.testing.assert_close(mean, weight.grad)
    assert not torch.allclose(ranks[0]["gathered"]["gradient"], ranks[1]["gathered"]["gradient"])


def test_each_process_receives_its_rows_of_the_summed_gradient(ranks: list[dict[str, Any]]):
    for rank in ranks:
        fast, slow = rank["gradients"]
        torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(ranks[0]["gradients"][0], ranks[1]["gradients"][0])


def test_unequal_parts_are_refused_by_every_process(ranks: list[dict[str, Any]]):
    assert [rank["refused"] for rank in ranks] == [
        "gather needs the same number of rows from every process, found [3, 4]"
    ] * 2


SRUN = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "70001"}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "a"}
NODES = {"SLURM_STEP_ID": "2", "SLURM_JOB_NODELIST": "gpu[03-05,09],cpu1"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Launch()),
        (SRUN, Launch()),
        (SRUN | NODES, Launch(3, 8, 1, "tcp://gpu03:30009")),
        (
            SRUN | NODES | {"SLURM_STEP_NODELIST": "gpu09"},
            Launch(3, 8, 1, "tcp://gpu09:30009"),
        ),
        (SRUN | {"MASTER_ADDR": "here", "MASTER_PORT": "5"}, Launch(3, 8, 1, "tcp://here:5")),
        (SRUN | NODES | TORCHRUN, Launch(1, 2, 1)),
    ],
    ids=[
        "alone",
        "the batch script",
        "srun",
        "srun on some nodes",
        "told where to meet",
        "torchrun inside a job",
    ],
)
def test_the_launcher_says_who_a_process_is(variables: dict[str, str], expected: Launch):
    assert launch(variables) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("a,b", "a"), ("n[1-3]", "n1"), ("n[007,9-12],m", "n007"), ("r[1-2]n[3-4]-ib,x", "r1n3-ib")],
)
def test_the_first_host_of_a_list(nodes: str, first: str):
    assert first_host(nodes) == first


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_command_knows_whether_it_is_started_anew(name: str, monkeypatch: pytest.MonkeyPatch):
    for each in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(each, raising=False)
    assert not runtime.is_restart()
    monkeypatch.setenv(name, "0")
    assert not runtime.is_restart()
    monkeypatch.setenv(name, "1")
    assert runtime.is_restart()


@pytest.mark.parametrize(
    ("from_address", "expected"),
    [
        ("127.0.0.1", "node7"),
        ("127.0.1.1", "node7"),
        ("::1", "node7"),
        ("10.0.0.9", "10.0.0.9"),
        ("fd00::9", "fd00::9"),
    ],
)
def test_a_machine_is_known_by_what_it_calls_the_agent_from(
    from_address: str, expected: str, monkeypatch: pytest.MonkeyPatch
):
    called = list[tuple[str, int]]()

    class Call(nullcontext[Any]):
        def __enter__(self) -> Any:
            return self

        def getsockname(self) -> tuple[str, int]:
            return from_address, 5

    def connect(address: tuple[str, int]) -> Call:
        called.append(address)
        return Call()

    monkeypatch.setattr(socket, "create_connection", connect)
    assert own_host("node7", 29500) == expected
    assert called == [("node7", 29500)]


def test_a_single_process_is_no_special_case():
    x = torch.randn(3, 2, requires_grad=True)
    assert ALONE.gather(x) is x
    assert ALONE.total(x) is x
    assert ALONE.gather_objects("x") == ["x"]
    assert [ALONE.any(True), ALONE.any(False)] == [True, False]
    assert ALONE.is_main
    ALONE.barrier()


def test_a_gpu_that_is_not_there_is_an_error_a_person_can_mend(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no GPU here"):
        runtime.start("cuda")
    assert runtime.start("auto").device.type == "cpu"


def test_seeded_draws_repeat_and_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with seeded(7):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(7):
        assert torch.equal(torch.rand(4), first)
    with seeded(8):
        assert not torch.equal(torch.rand(4), first)


def test_seeded_leaves_the_global_generator_alone_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(7):
        torch.rand(1).item() / 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("cores", "processes", "workers"),
    [(4, None, 3), (4, "2", 1), (8, "2", 3), (8, "8", 1), (1, None, 1), (64, None, 8), (64, "2", 8), (64, "16", 3)],
)
def test_the_processes_of_a_machine_share_its_cores(
    cores: int, processes: str | None, workers: int, monkeypatch: pytest.MonkeyPatch
):
    """One core of each process is for itself; eight loaders are enough, and one there always is."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    for name in ("LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert runtime.worker_count() == workers
    threads = list[int]()
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    runtime.share_cores(workers)
    assert threads == [max(1, cores // int(processes or 1) - workers)]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    runtime.share_cores(workers)
    assert len(threads) == 1


def test_folders_are_told_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TRANSFERBENCH_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("TRANSFERBENCH_DATA", "~/d")
    assert runtime.cache_root() == tmp_path / "c"
    assert runtime.data_root() == Path.home() / "d"


def test_the_environment_can_be_recorded():
    found = runtime.environment()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["packages"]["torch"] == runtime.version("torch")
    assert "detectron2" in found["packages"] or runtime.version("detectron2") is None
    assert found["machine"]["cores"] >= 1
