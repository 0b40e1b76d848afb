"""Commands ended at random moments, by kills and by signals: the next call finds what was done and equal numbers."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import pytest
import torch

from decorssl import cli as pretraining
from transferbench import records, stopping
from transferbench.backbones import Architecture, complete
from transferbench.checkpoints.load import random_control
from transferbench.checkpoints.save import save
from transferbench.cli import main
from transferbench.data.transforms import Preprocess
from transferbench.detection.training import loop
from transferbench.features import extraction, resumable_array
from transferbench.records import Record

pytestmark = pytest.mark.slow
KILLS, STOPS = 20, 10
SHARED = ("--no-control", "--device", "cpu")
DETECTOR = "SOLVER.STEPS () SOLVER.WARMUP_ITERS 0 INPUT.MIN_SIZE_TRAIN (64,) INPUT.MIN_SIZE_TEST 64"
TRAINED = f"{DETECTOR} SOLVER.MAX_ITER 6 TEST.PRECISE_BN.NUM_ITER 2"
TESTED = f"{DETECTOR} SOLVER.MAX_ITER 1 TEST.PRECISE_BN.NUM_ITER 1"
DRILLS = ("extraction", "training of a detector", "test of a detector", "semi", "table")


@dataclass(frozen=True)
class Drill:
    """A command line of an output folder, and what it leaves there that must always be the same."""

    main: Callable[[], None]
    words: Callable[[Path], tuple[object, ...]]
    left: Callable[[Path], Any]

    def start(self, out: Path) -> forked.Fork:
        """The command begun, and ready to take signals."""
        mark = out.with_name(f"{out.name}.begun")
        mark.unlink(missing_ok=True)

        def begun() -> None:
            extraction.BATCH, resumable_array.PATIENCE, loop.SAVED_EVERY = 4, 0.0, 0
            torch.set_num_threads(1)
            with stopping.listening():
                mark.touch()
                self.main()

        run = forked.command(begun, *self.words(out))
        deadline = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        return run


def scores(out: Path) -> Any:
    found = [record for _, record in records.read_all(out / "records") if isinstance(record, Record)]
    assert [record.status for record in found] == ["ok"]
    assert not list((out / "unfinished").iterdir())
    return found[0].scores


def tables(out: Path) -> dict[str, bytes]:
    written = [path for path in out.rglob("leaderboard*") if path.is_file() and path.suffix != ".html"]
    assert written
    return {path.name: path.read_bytes() for path in written}


@pytest.fixture(scope="module")
def drills(digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drill]:
    folder = tmp_path_factory.mktemp("stops")
    architecture = complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"}))
    judged, checkpoint = random_control(architecture, Preprocess(size=None, crop=16), 0), folder / "a.safetensors"
    save(checkpoint, judged.backbone.state_dict(), judged.card)

    def evaluating(*words: object) -> Drill:
        def line(out: Path) -> tuple[object, ...]:
            places = ("--out", out, "--cache", out / "cache", "--data-root", folder / "data")
            return words[0], checkpoint, *words[1:], *SHARED, *places

        return Drill(main, line, scores)

    def detecting(overrides: str) -> Drill:
        set_ = (f"detect.overrides={overrides}", "detect.recipe=micro-r18-c4", "detect.backend=torchvision")
        return evaluating("detect", "--data", "digit-scenes", "--limit", 24, *(w for s in set_ for w in ("--set", s)))

    done = evaluating("knn", "--data", f"{digit_folder}/", "--set", "knn.k=1", "--set", "knn.ks=[1]", "--workers", 1)
    assert done.start(folder / "records").wait() == 0
    tuning = ("--set", "semi.epochs=3", "--set", "semi.percent=100", "--set", "semi.batch_size=32", "--workers", 1)
    return {
        "extraction": done,
        "training of a detector": detecting(TRAINED),
        "test of a detector": detecting(TESTED),
        "semi": evaluating("semi", "--data", f"{digit_folder}/", *tuning),
        "table": Drill(main, lambda out: ("table", folder / "records", "--out", out), tables),
    }


def ended_often(drill: Drill, folder: Path, count: int, number: signal.Signals) -> None:
    """End the command so many times at random moments; whenever it comes to its end, its numbers are the usual ones.

    Calls that came to their end before the signal are not counted; what was counted is printed (`pytest -rP`).
    """
    began = time.monotonic()
    assert drill.start(folder / "whole").wait() == 0
    seconds, draw = time.monotonic() - began, random.Random(int(number))
    expected, rounds, ended, calls = drill.left(folder / "whole"), 0, 0, 0
    while ended < count:
        calls += 1
        assert calls <= 10 * count, f"only {ended} of {calls} calls were ended"
        run = drill.start(folder / f"cut{rounds}")
        time.sleep(draw.uniform(0, 0.9 * seconds))
        run.signal_all(number)
        done = run.finish(60)
        expected_code = -number if number == signal.SIGKILL else 128 + number
        assert done.returncode in (0, expected_code), done.stderr
        assert "Traceback" not in done.stderr
        ended += done.returncode != 0
        if done.returncode == 0:
            assert drill.left(folder / f"cut{rounds}") == expected
            rounds += 1
    assert drill.start(folder / f"cut{rounds}").wait() == 0
    assert drill.left(folder / f"cut{rounds}") == expected
    shown = f"{ended} of {calls} calls ended by {number.name}, {rounds + 1} folders brought to the usual numbers"
    print(f"{shown}; a whole call takes {seconds:.1f} s, all took {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("name", DRILLS)
def test_kills_at_random_moments_change_no_number(name: str, drills: dict[str, Drill], tmp_path: Path) -> None:
    ended_often(drills[name], tmp_path, KILLS, signal.SIGKILL)


@pytest.mark.parametrize("number", stopping.SIGNALS)
@pytest.mark.parametrize("name", DRILLS)
def test_signals_at_random_moments_end_the_command_and_change_no_number(
    name: str, number: signal.Signals, drills: dict[str, Drill], tmp_path: Path
) -> None:
    ended_often(drills[name], tmp_path, STOPS, number)


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_signals_at_random_moments_end_a_pretraining_and_change_no_weight(
    number: signal.Signals, recipe_path: Path, tmp_path: Path
) -> None:
    quiet = ("--knn-every", 0, "--watch-every", 0, "--views", "pil", "--workers", 1, "--resume")
    drill = Drill(
        pretraining.main,
        lambda out: ("intl", "--recipe", recipe_path, "--out", out, *quiet),
        lambda out: (out / "backbone.safetensors").read_bytes(),
    )
    ended_often(drill, tmp_path, STOPS, number)


@pytest.mark.parametrize("name", ["semi", "extraction"])
def test_eight_evaluations_of_one_checkpoint_in_one_folder_five_times(
    name: str, drills: dict[str, Drill], tmp_path: Path
) -> None:
    began = time.monotonic()
    for turn in range(5):
        out = tmp_path / str(turn)
        runs = [drills[name].start(out) for _ in range(8)]
        done = [run.finish() for run in runs]
        assert [each.returncode for each in done] == [0] * 8, "\n".join(each.stderr + each.stdout for each in done)
        assert len({str(drills[name].left(tmp_path / str(t))) for t in range(turn + 1)}) == 1
    print(f"{name}: 8 at once, 5 times, without a failure in {time.monotonic() - began:.0f} s")
