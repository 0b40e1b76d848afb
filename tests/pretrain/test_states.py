"""The states of a run: written beside the training, the last few kept, a broken one passed over."""

import errno
import threading
from pathlib import Path

import pytest
import torch

from decorssl import states
from decorssl.states import States
from transferbench import state
from transferbench.errors import UserError


def never() -> Exception:
    return AssertionError("the state is finite")


def saved(folder: Path, *steps: int, keep: int = 2) -> States:
    """States after such steps, each holding its number."""
    kept = States(folder, keep)
    for step in steps:
        kept.begin(step, {"done": step, "weight": torch.full((50,), float(step))}, never)
    kept.wait()
    return kept


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_so_many_of_the_last_are_kept(keep: int, tmp_path: Path) -> None:
    saved(tmp_path, 7, 80, 900, 10000, keep=keep)
    names = [path.name for path in states.paths(tmp_path)]
    assert names == [f"state-{step:08d}.safetensors" for step in (10000, 900, 80, 7)[:keep]]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_training_goes_on_while_a_state_is_written_and_does_not_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), state.save_tensors

    def slow(*arguments: object) -> None:
        assert go.wait(30)
        write(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(state, "save_tensors", slow)
    kept, weight = States(tmp_path, 2), torch.ones(5)
    kept.begin(1, {"weight": weight}, never)
    assert kept.is_busy
    weight.zero_()
    assert states.paths(tmp_path) == []
    go.set()
    kept.wait()
    assert not kept.is_busy
    assert state.load(states.paths(tmp_path)[0])["weight"].tolist() == [1] * 5


def test_a_broken_newest_state_is_passed_over_with_a_message_and_set_aside(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, keep=3)
    truncate(tmp_path / "state-00000003.safetensors")
    said: list[str] = []
    found = states.newest(tmp_path, said.append)
    assert found is not None
    assert state.load(found)["done"] == 2
    assert "state-00000003.safetensors is not a complete training state" in said[0]
    assert "Resuming from state-00000002.safetensors" in said[1]
    assert (tmp_path / "state-00000003.safetensors.broken").is_file()
    said.clear()
    assert states.newest(tmp_path, said.append) == found
    assert said == []


def test_where_no_state_is_whole_it_is_said_what_to_do(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for path in states.paths(tmp_path):
        truncate(path)
    with pytest.raises(UserError, match=r"(?s)is damaged: state-00000002\.\S+ state-00000001.*another --out"):
        states.newest(tmp_path)
    assert len(states.paths(tmp_path)) == 2


def test_a_state_of_an_earlier_version_is_refused_and_kept_unless_later_ones_lie_beside_it(tmp_path: Path) -> None:
    earlier = tmp_path / "state.safetensors"
    state.save_tensors(earlier, {"0": torch.ones(5)}, ("tree", '{"items": [["done", 7]]}'))
    with pytest.raises(UserError, match=r"state\.safetensors was saved by an earlier.*state-\*.*another --out"):
        states.newest(tmp_path)
    assert list(tmp_path.iterdir()) == [earlier]
    saved(tmp_path, 8)
    assert states.newest(tmp_path) == tmp_path / "state-00000008.safetensors"


def test_a_folder_without_a_state_has_none_and_leftovers_of_a_kill_go(tmp_path: Path) -> None:
    (tmp_path / ".state-00000004.safetensors.x7").write_bytes(b"half")
    assert states.newest(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_room_and_need_and_the_old_states_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = saved(tmp_path, 1, 2)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state.safetensors.torch, "save_file", full)
    kept.begin(3, {"done": 3, "weight": torch.zeros(2**18)}, never)
    with pytest.raises(UserError, match=r"No space left.*takes 1\.0 MiB, \d+\.\d MiB are free.*00002.*00001.*--resume"):
        kept.wait()
    assert [state.load(path)["done"] for path in states.paths(tmp_path)] == [2, 1]
    assert len(list(tmp_path.iterdir())) == 2
    kept.wait()


def test_a_state_that_is_not_finite_is_never_kept(tmp_path: Path) -> None:
    kept = saved(tmp_path, 1)
    kept.begin(2, {"done": 2, "weight": torch.tensor([1.0, torch.inf])}, lambda: UserError("not finite"))
    with pytest.raises(UserError, match="not finite"):
        kept.begin(3, {"done": 3}, never)
    assert [path.name for path in states.paths(tmp_path)] == ["state-00000001.safetensors"]
