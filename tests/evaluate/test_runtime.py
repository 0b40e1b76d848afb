"""One process among its peers, and the machine it runs on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from transferbench import runtime
from transferbench.errors import UserError
from transferbench.runtime import Runtime, seeded

ALONE = Runtime(torch.device("cpu"))


def test_each_process_knows_its_place(ranks: list[dict[str, Any]]):
    assert [rank["place"] for rank in ranks] == [[0, 2, True], [1, 2, False]]
    assert [rank["objects"] for rank in ranks] == [["rank 0", "rank 1"]] * 2
    assert [rank["any"] for rank in ranks] == [[False, True]] * 2


def test_a_loss_on_gathered_rows_has_the_gradient_of_one_process(
    ranks: list[dict[str, Any]], inputs: dict[str, torch.Tensor]
):
    """With gradients averaged over the processes, as data-parallel training does (spec 1.1)."""
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
