"""What the search for cycles of objects is spared, and that it goes on afterwards."""

import gc
from types import SimpleNamespace

import pytest

from transferbench import garbage


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether collection was on at each call of `gc.freeze`, which leaves this process as it is."""
    calls: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(gc.isenabled()))
    return calls


def test_nothing_is_collected_inside_and_all_is_as_before_afterwards() -> None:
    with garbage.uncollected():
        assert not gc.isenabled()
        with garbage.uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="in it"), garbage.importing():
        raise ValueError("in it")
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("before", "after", "calls"),
    [((), ("torch",), [False]), ((), (), []), (("torch",), ("torch",), [])],
    ids=["it is imported", "it is not", "it was there"],
)
def test_what_torch_leaves_is_set_apart_where_the_block_imports_it(
    before: tuple[str, ...],
    after: tuple[str, ...],
    calls: list[bool],
    frozen: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modules = dict.fromkeys(before)
    monkeypatch.setattr(garbage, "sys", SimpleNamespace(modules=modules))
    with garbage.importing():
        modules.update(dict.fromkeys(after))
    assert frozen == calls
    assert gc.isenabled()
