"""A signal is never lost: whatever the program is doing, the next step's end sees the flag."""

import contextlib
import ctypes
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import dataloader

from transferbench import stopping
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.loading import batches, in_order
from transferbench.data.transforms import evaluation
from transferbench.features import extraction
from transferbench.records import Record
from transferbench.run import DatasetCache, Output, dataset_cache, run
from transferbench.runtime import Runtime
from transferbench.runtime.signals import StopSignal
from transferbench.stopping import Interrupted
from transferbench.suite import Job
from transferbench.tasks import Bench, knn, semi


class Closing:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("lossy", [Closing, ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGTERM))])
def test_a_signal_where_exceptions_are_lost_is_seen_at_the_next_step(lossy: Callable[[], object]) -> None:
    """In a destructor, and in a function that compiled code calls."""
    with pytest.raises(Interrupted) as stop, stopping.listening():  # noqa: PT012
        lossy()
        stopping.check()
    assert stop.value.number == signal.SIGTERM
    assert stopping.asked() == 0, "the flag is lowered where the program ends"
    stopping.check()


def test_a_signal_while_loader_processes_close_is_seen_afterwards(
    tiny_candidate: Candidate, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    iterator = dataloader._MultiProcessingDataLoaderIter
    close, closed = iterator._shutdown_workers, []

    def closing(self: object) -> None:
        signal.raise_signal(signal.SIGUSR1)
        closed.append(close(self))

    monkeypatch.setattr(iterator, "_shutdown_workers", closing)
    seen = []
    with pytest.raises(Interrupted) as stop, stopping.listening():  # noqa: PT012
        transform = evaluation(tiny_candidate.card.preprocess)
        seen += [len(batch.labels) for batch in batches(tiny_images(6), transform, in_order(6, 3), workers=1)]
        stopping.check()
    assert seen == [3, 3]
    assert closed
    assert stop.value.number == signal.SIGUSR1


def test_what_no_step_takes_up_is_raised_after_a_while_and_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE", 0.02)
    with stopping.listening():
        signal.raise_signal(signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(Interrupted):
                time.sleep(30)
        with stopping.polled():
            time.sleep(0.1)


def test_a_stop_that_a_loop_was_told_of_is_known_to_what_comes_after_it() -> None:
    with pytest.raises(Interrupted), stopping.listening():  # noqa: PT012
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGTERM)
            stopping.check()
            assert stop.number == signal.SIGTERM
        stopping.check()


@pytest.fixture
def judged(
    tiny_candidate: Candidate, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], list[Record]]:
    """`judged(out)`: k-NN and fine-tuning of the tiny candidate, what was finished there not again."""
    monkeypatch.setattr(extraction, "BATCH", 8)
    monkeypatch.setattr(dataset_cache, "open_split", lambda data, split, root: tiny_images(16, split=split))
    tuning = semi.Config(percent=100, epochs=2, batch_size=8)
    jobs = [Job("knn", "knn", "tiny", knn.Config(k=1, ks=(1,)), 0, None), Job("semi", "semi", "tiny", tuning, 0, None)]

    def judged(out: Path) -> list[Record]:
        bench = Bench(Runtime(torch.device("cpu")), out / "cache", out / "unfinished")
        return list(run(jobs, tiny_candidate, bench, DatasetCache(Path()), Output(out)))

    return judged


def test_a_stop_at_every_step_in_turn_leads_to_equal_numbers(
    judged: Callable[[Path], list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [record.scores for record in judged(tmp_path / "whole")]
    check, steps, stops = stopping.check, [0], 0

    def check_after_a_signal() -> None:
        steps[0] += 1
        if steps[0] == stops + 1:
            signal.raise_signal(signal.SIGTERM)
        check()

    monkeypatch.setattr(stopping, "check", check_after_a_signal)
    found: list[Record] = []
    while not found and stops < 60:
        steps[0] = 0
        with contextlib.suppress(Interrupted), stopping.listening():
            found = judged(tmp_path / "stopped")
        stops += not found
    assert stops > 8
    assert [record.scores for record in found] == expected
    assert np.all([record.status == "ok" for record in found])
