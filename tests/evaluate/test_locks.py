"""One process at a time holds a lock, and a dead one holds none."""

import signal
import time
from pathlib import Path

import forked
import pytest

from transferbench import locks


def test_a_lock_ends_with_its_process_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lock"

    def work() -> None:
        hold = locks.take(path)
        assert hold is not None
        hold.note({"pid": 7})
        time.sleep(60)

    other = forked.Fork(work)
    deadline = time.monotonic() + 30
    while not locks.holder(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert locks.holder(path) == {"pid": 7}
    assert locks.take(path) is None
    other.signal_all(signal.SIGKILL)
    other.wait()
    hold = locks.take(path)
    assert hold is not None
    assert locks.take(path) is None, "another part of the same program"
    hold.release()
    assert locks.holder(path) == {"pid": 7}


def test_a_lock_that_its_holder_removes_is_another_one_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.alone(path):
        assert locks.take(path) is None
    assert not path.exists()
    hold = locks.take(path)
    assert hold is not None
    hold.remove()


def test_who_waits_for_ever_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.02)
    hold = locks.take(tmp_path / "lock")
    assert hold is not None
    with locks.alone(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").exists()
    hold.release()


def test_a_note_that_is_none_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("[1]")
    assert locks.holder(tmp_path / "lock") == {}
    assert locks.holder(tmp_path / "no") == {}


def test_a_lock_file_of_another_person_is_taken_and_a_folder_of_theirs_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "theirs").touch()
    monkeypatch.setattr(Path, "open", refused)
    assert locks.take(tmp_path / "theirs") is None
    with pytest.raises(PermissionError, match="new"):
        locks.take(tmp_path / "new")
