"""Many files in one call: one network at a time, and each is still what it was when it was checked."""

import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from transferbench import api, backbones
from transferbench.backbones import Architecture, Backbone
from transferbench.checkpoints import Card, Origin
from transferbench.checkpoints.load import load, random_control, unbuilt
from transferbench.checkpoints.save import save
from transferbench.data import LabeledImages, evaluation_views
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.runtime import Runtime
from transferbench.suite import Suite, SuiteEntry

SUITE = Suite(name="s", jobs=(SuiteEntry(task="spectrum"), SuiteEntry(task="knn", settings={"ks": [3], "k": 3})))
SMALL = backbones.complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"}))
PLACE = Preprocess(size=None, crop=16)


def write(path: Path, seed: int, preprocess: Preprocess = PLACE) -> Path:
    card = Card(architecture=SMALL, preprocess=preprocess, origin=Origin(method="intl", recipe=path.stem))
    save(path, backbones.build(SMALL, seed).state_dict(), card)
    return path


@pytest.fixture
def files(tmp_path: Path, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Four files `a` to `d` whose weights differ."""
    monkeypatch.setattr(
        "transferbench.run.dataset_cache.open_split", lambda data, split, root: tiny_images(24, split=split)
    )
    return [write(tmp_path / f"{name}.safetensors", 100 + i) for i, name in enumerate("abcd")]


@pytest.fixture
def alive(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each network that was built after the files were written, how many had values at once, itself included."""
    build, known, counts = backbones.build, list[weakref.ref[Backbone]](), list[int]()

    def counted(architecture: Architecture, seed: int = 0, device: str = "cpu") -> Backbone:
        network = build(architecture, seed, device)
        if device != "meta":
            known.append(weakref.ref(network))
            here = [each for ref in known if (each := ref()) is not None]
            counts.append(sum(not next(each.parameters()).is_meta for each in here))
        return network

    monkeypatch.setattr(backbones, "build", counted)
    return counts


def prepared(files: list[Path], out: Path | None = None, cache: Path | None = None) -> api.Evaluation:
    where = {"cache": cache} if cache else {}
    return api.prepare(
        api.EvaluationRequest(list(files), ["tiny"], SUITE), api.Execution(Runtime(torch.device("cpu")), out, **where)
    )


def test_one_network_is_in_memory_at_a_time(files: list[Path], alive: list[int], tmp_path: Path):
    work = prepared(files, tmp_path / "out", tmp_path / "cache")
    assert alive == [1], "a control is drawn for its digest, and no file is built"
    assert len(work.plan()) == 2 * 5
    assert alive == [1] * 6
    found = list(work.run())
    assert alive == [1] * 11
    assert [(each.candidate, each.status) for each in found[::2]] == [(n, "ok") for n in [*"abcd", "random-init"]]
    assert [each.digest for each in found[:8:2]] == [load(path).digest for path in files]


def test_a_network_is_built_once_for_all_jobs_and_not_for_finished_ones(
    files: list[Path], alive: list[int], tmp_path: Path
):
    first = list(prepared(files, tmp_path / "out").run())
    before = len(alive)
    assert before == 1 + 5
    again = list(prepared(files, tmp_path / "out").run())
    assert len(alive) == before + 1, "the control is drawn for its digest"
    assert again == first


SLOW = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: write(path, 7), r"has changed since it was checked: its network had the digest \w{12}, and has"),
        SLOW(lambda path: write(path, 101, Preprocess(size=None, crop=8)), "or with other preprocessing"),
        SLOW(lambda path: path.unlink(), "No checkpoint file at"),
        SLOW(lambda path: path.write_bytes(path.read_bytes()[:-900]), "truncated or damaged"),
    ],
    ids=["other weights", "another card", "gone", "cut"],
)
@pytest.mark.parametrize("is_planned", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_file_that_changes_before_its_turn_is_refused_and_the_others_are_judged(
    change: Callable[[Path], object], reason: str, is_planned: bool, files: list[Path], tmp_path: Path
):
    work = prepared(files, cache=tmp_path / "cache")
    change(files[1])
    plan = work.plan() if is_planned else []
    assert [bool(each.problem) for each in plan] == [False, False, True, True, *[False] * 6][: len(plan)]
    found = list(work.run())
    failed = [each for each in found if each.status != "ok"]
    assert [(each.candidate, each.status) for each in failed] == [("b", "failed")] * 2
    assert len(found) == 2 * 5
    for each in failed:
        assert not each.is_bug
        assert each.error is not None
        assert re.search(reason, each.error)


def test_a_file_that_is_written_again_with_the_same_weights_is_judged(files: list[Path], tmp_path: Path):
    work = prepared(files[:2], cache=tmp_path / "cache")
    write(files[1], 101)
    assert {each.status for each in work.run()} == {"ok"}


def test_where_a_process_cannot_build_no_process_begins(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Two(Runtime):
        """This process, and one that sees another file."""

        def gather_objects(self, value: object) -> list[object]:  # pyright: ignore[reportIncompatibleMethodOverride]
            return [value, "the other's reason" if value == "" else value]

    def begun(*_: object) -> None:
        raise AssertionError("a job has begun")

    monkeypatch.setattr("transferbench.run.scratch.claimed", begun)
    work = prepared(files[:1], cache=tmp_path / "cache")
    found = list(replace(work, execution=replace(work.execution, runtime=Two(torch.device("cpu")))).run())
    assert {(each.error, each.seconds) for each in found} == {("the other's reason", 0)}


def test_a_live_network_is_the_one_that_was_handed_over(files: list[Path], tmp_path: Path):
    network = backbones.build(SMALL, 3).eval()
    request = api.EvaluationRequest([network], ["tiny"], SUITE)
    live, control = api.prepare(request, api.Execution(Runtime(torch.device("cpu")), cache=tmp_path)).candidates
    assert live.backbone is live.built().backbone is network
    assert control.name == "random-init"


def test_a_control_is_drawn_as_it_was_or_refused():
    drawn = random_control(SMALL, PLACE, 5)
    weights = {name: tensor.clone() for name, tensor in drawn.backbone.state_dict().items()}
    later = unbuilt(drawn, 5)
    assert all(tensor.is_meta for tensor in later.backbone.state_dict().values())
    whole = later.built()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in whole.backbone.state_dict().items())
    assert (whole.build, whole.digest, whole.backbone.training) == (None, later.digest, False)
    with pytest.raises(UserError, match="drew two networks from seed 6"):
        unbuilt(random_control(SMALL, PLACE, 5), 6).built()


def test_images_are_decoded_once_for_all_networks(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    made, make = list[int](), evaluation_views.Evaluated._made
    monkeypatch.setattr(evaluation_views, "ENOUGH", 1)
    monkeypatch.setattr(
        evaluation_views.Evaluated, "_made", lambda self, index: made.append(index) or make(self, index)
    )
    scores = [each.scores for each in prepared(files, None, tmp_path / "once").run()]
    looked_at = 1  # for the width of each network's features
    assert len(made) == 2 * 24, "two splits of 24 images, whose first is kept when a network is asked for its width"
    made.clear()
    work = prepared(files, None, tmp_path / "anew")
    anew = replace(work, execution=replace(work.execution, image_memory=0))
    assert [each.scores for each in anew.run()] == scores
    assert len(made) == 5 * 2 * (24 + looked_at)
