"""Several processes under torchrun's engine, forked so that they start at once: part of `make test-all`."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from decorssl import runlog, session
from decorssl.recipe import Recipe, read
from transferbench.data import LabeledImages

Images = Callable[..., LabeledImages]
STEPS = 20


@dataclass(frozen=True)
class Bench:
    """A recipe of 20 steps, and where its runs lie."""

    recipe: Recipe
    root: Path

    def run(self, name: str) -> int:
        """What each process does: the run of that name, gone on with; the killed one because it is a restart."""
        folder = self.root / name
        (self.root / f"{name}.{os.environ['RANK']}").write_text(str(os.getpid()))

        def say(text: str) -> None:
            with (self.root / f"{name}.said").open("a") as file:
                file.write(text + "\n")

        options = session.RunOptions(
            "cpu", workers=0, knn_every=0, watch_every=0, save_seconds=0.0, views="pil", linear_every=5
        )
        return session.run(self.recipe, folder, name != "killed", options, say)

    def launch(self, name: str, count: int, restarts: int = 0, nodes: int = 1, port: int = 0) -> list[int]:
        """Run it in so many processes on this node; what each returned."""
        config = LaunchConfig(
            nodes, nodes, count, run_id=name, rdzv_backend="c10d", rdzv_endpoint=f"127.0.0.1:{port}",
            max_restarts=restarts, monitor_interval=0.05, start_method="fork",
        )  # fmt: skip
        found = elastic_launch(config, self.run)(name)
        return [found[rank] for rank in sorted(found)]

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.written(name) if "loss" in line]

    def probed(self, name: str) -> list[float]:
        """The curve of the linear probe."""
        return [line["linear"] for line in self.written(name) if "linear" in line]

    def written(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / name / runlog.STEPS).read_text().splitlines()]

    def said(self, name: str) -> str:
        return (self.root / f"{name}.said").read_text()

    def backbone(self, name: str) -> bytes:
        """The weights, without the header, which names the commit."""
        content = (self.root / name / runlog.BACKBONE).read_bytes()
        return content[8 + int.from_bytes(content[:8], "little") :]

    def when(self, name: str, steps: int, rank: int, number: signal.Signals) -> threading.Thread:
        """Send the process of that rank a signal when so many steps are logged."""

        def watch() -> None:
            log, deadline = self.root / name / runlog.STEPS, time.monotonic() + 60
            while time.monotonic() < deadline and (not log.is_file() or log.read_text().count("\n") < steps):
                time.sleep(0.002)
            os.kill(int((self.root / f"{name}.{rank}").read_text()), number)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_images: Images, recipe_text: str) -> Any:
    root = tmp_path_factory.mktemp("processes")
    (root / "tiny.yaml").write_text(recipe_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "open_split", lambda data, split, folder: tiny_images(20, split=split))
        found = Bench(read(root / "tiny.yaml", ["epochs=10"]), root)
        assert found.launch("undisturbed", 2) == [0, 0]
        yield found


@pytest.mark.slow
def test_a_killed_process_is_started_anew_with_its_peer_and_the_result_is_the_same(bench: Bench) -> None:
    killer = bench.when("killed", 5, rank=1, number=signal.SIGKILL)
    assert bench.launch("killed", 2, restarts=2) == [0, 0]
    killer.join(60)
    assert "Resuming after step" in bench.said("killed")
    assert [line["step"] for line in bench.lines("killed")] == list(range(1, STEPS + 1))
    assert [line["loss"] for line in bench.lines("killed")] == [line["loss"] for line in bench.lines("undisturbed")]
    assert bench.backbone("killed") == bench.backbone("undisturbed")
    assert len(bench.probed("killed")) == 2
    assert bench.probed("killed") == bench.probed("undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nodes", "killed-nodes"])
def test_two_nodes_are_one_run_also_when_a_process_is_killed(name: str, bench: Bench) -> None:
    """Two agents that meet on the loopback, one process each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    if name == "killed-nodes":
        bench.when(name, 5, rank=1, number=signal.SIGKILL)
    other = get_context("fork").Process(target=bench.launch, args=(name, 1, 3, 2, port))
    other.start()
    assert bench.launch(name, 1, restarts=3, nodes=2, port=port) == [0]
    other.join(60)
    assert other.exitcode == 0
    assert ("Resuming after step" in bench.said(name)) == (name == "killed-nodes")
    assert bench.backbone(name) == bench.backbone("undisturbed")


@pytest.mark.slow
def test_a_signal_to_one_stops_all_and_fewer_go_on_with_the_same_schedule_and_say_what_differs(bench: Bench) -> None:
    bench.when("fewer", 5, rank=1, number=signal.SIGUSR1)
    assert bench.launch("fewer", 2) == [signal.SIGUSR1] * 2
    assert "Stopped by SIGUSR1 and saved" in bench.said("fewer")
    assert bench.launch("fewer", 1) == [0]
    assert "Saved by 2 processes, resumed by 1: schedule" in bench.said("fewer")
    found, expected = bench.lines("fewer"), bench.lines("undisturbed")
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    assert [line["lr"] for line in found] == [line["lr"] for line in expected]
    losses, without = ([line["loss"] for line in each] for each in (found, expected))
    assert losses[:8] == pytest.approx(without[:8], rel=1e-4)
    assert losses == pytest.approx(without, rel=2e-2)
