"""From Python: files and live modules, controls, and everything checked before anything runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import transferbench
from transferbench import api, tables
from transferbench import suite as suites
from transferbench.backbones import build
from transferbench.checkpoints import Candidate, Card, Origin
from transferbench.checkpoints.save import save
from transferbench.data import LabeledImages
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.features.spec import FeatureSpec
from transferbench.records import Record
from transferbench.run import DatasetCache
from transferbench.runtime import Runtime
from transferbench.suite import Suite, SuiteEntry

SPECTRUM = Suite(name="s", jobs=(SuiteEntry(task="spectrum"), SuiteEntry(task="knn", settings={"ks": [3], "k": 3})))

SCENES = SuiteEntry(task="detect", embedded="digit-scenes")


@pytest.fixture(autouse=True)
def tiny_data(tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiny data sets, `tiny` and `large`, and nothing else."""
    sizes = {"tiny": 16, "large": 24}

    def opened(data: str, split: str, root: Path) -> LabeledImages:
        if data not in sizes:
            raise UserError(f"There is no {data} here. Download it.")
        return tiny_images(24, size=sizes[data], split=split)

    monkeypatch.setattr("transferbench.run.dataset_cache.open_split", opened)


@pytest.fixture
def checkpoint(tiny_candidate: Candidate, tmp_path: Path) -> Callable[[int], Path]:
    """`checkpoint(seed)`: a file of our own with weights of that seed."""

    def written(seed: int) -> Path:
        architecture = tiny_candidate.card.architecture
        card = Card(
            architecture=architecture,
            preprocess=tiny_candidate.card.preprocess,
            origin=Origin(method="intl", recipe="intl-tiny", seed=seed),
        )
        path = tmp_path / f"seed{seed}.safetensors"
        save(path, build(architecture, seed + 100).state_dict(), card)
        return path

    return written


def rows(found: list[Record]) -> list[tuple[str, str]]:
    return [(record.candidate, record.task) for record in found]


def test_a_file_is_judged_beside_its_random_control(checkpoint: Callable[[int], Path], tmp_path: Path):
    found = transferbench.evaluate(checkpoint(3), SPECTRUM, "tiny", out=tmp_path / "out")
    assert {record.status for record in found} == {"ok"}
    assert rows(found) == [(n, t) for n in ("intl-tiny", "random-init") for t in ("spectrum", "knn")]
    assert found[2].card.origin.seed == 3
    assert found[0].digest != found[2].digest
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 4


def test_there_is_one_control_for_each_seed_and_none_when_not_wanted(checkpoint: Callable[[int], Path]):
    files = [checkpoint(0), checkpoint(1), f"again={checkpoint(1)}"]
    assert [r.candidate for r in transferbench.evaluate(files, SPECTRUM, "tiny")].count("random-init") == 4
    found = transferbench.evaluate(files, SPECTRUM, "tiny", control=False)
    assert [record.candidate for record in found] == ["intl-tiny"] * 4 + ["again"] * 2


def test_nothing_is_kept_without_a_folder(
    checkpoint: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = checkpoint(0)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    (record,) = transferbench.evaluate(path, SPECTRUM.only("knn"), "tiny", control=False)
    assert sorted(tmp_path.rglob("*")) == before
    assert record.artifacts == {}


class Pool(nn.Module):
    """A live module: the mean color, through one linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.map(images.mean((2, 3)))


def test_a_live_module_is_judged_at_the_data_sets_own_size_and_without_control():
    torch.manual_seed(0)
    execution = api.Execution(Runtime(torch.device("cpu")))
    work = api.prepare(api.EvaluationRequest([Pool()], ["tiny"], SPECTRUM), execution)
    assert [candidate.name for candidate in work.candidates] == ["Pool"]
    assert "Pool: no random-init row" in work.notes[0]
    found = list(work.run())
    assert {record.status for record in found} == {"ok"}
    assert found[0].card.preprocess == Preprocess(size=None, crop=16)


def test_a_live_backbone_of_ours_gets_its_control(tiny_candidate: Candidate):
    found = transferbench.evaluate(tiny_candidate.backbone, SPECTRUM.only("spectrum"), "tiny")
    assert [record.candidate for record in found][1:] == ["random-init"]
    assert found[0].card.architecture == tiny_candidate.card.architecture


def test_a_live_module_on_images_of_two_sizes_must_be_told_what_it_expects():
    with pytest.raises(UserError, match="what a live module expects is not known"):
        transferbench.evaluate(Pool(), SPECTRUM, ["tiny", "large"])
    found = transferbench.evaluate(
        Pool(), SPECTRUM.only("knn"), ["tiny", "large"], preprocess=Preprocess(size=20, crop=16)
    )
    assert [record.card.preprocess.size for record in found] == [20, 20]


def test_seeds_limits_and_overrides_reach_the_records(checkpoint: Callable[[int], Path]):
    fewshot, changed = SPECTRUM.only("fewshot"), ["fewshot.shots=2"]
    found = transferbench.evaluate(
        checkpoint(0), fewshot, "tiny", seeds=(0, 5), limit=12, control=False, overrides=changed
    )
    assert [(record.seed, record.limit, record.config["shots"]) for record in found] == [(0, 12, 2), (5, 12, 2)]
    assert found[0].score("top1").n == 12  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"overrides": ["knn.kk=3"]}, "no such setting"),
        ({"suite": "quikc"}, "Did you mean 'quick'"),
        ({"data": "imagenet"}, "There is no imagenet here"),
        ({"model_or_path": "nowhere.pth"}, "nowhere.pth"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    checkpoint: Callable[[int], Path], tmp_path: Path, wrong: dict[str, Any], reason: str
):
    fine = {"model_or_path": checkpoint(0), "suite": SPECTRUM, "data": "tiny", "out": tmp_path / "out"}
    with pytest.raises(UserError, match=reason):
        transferbench.evaluate(**(fine | wrong))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "jobs"),
    [
        ({}, ["spectrum", "knn"]),
        ({"data": ("digits",)}, ["spectrum", "knn", "detect"]),
        ({"only": ("knn", "detect")}, ["knn", "detect"]),
        ({"task": "detect"}, ["detect"]),
        ({"skip": ("spectrum",)}, ["knn"]),
        ({"suite": Suite(name="mine", jobs=(*SPECTRUM.jobs, SCENES))}, ["spectrum", "knn", "detect"]),
    ],
    ids=str,
)
def test_images_of_ones_own_leave_out_embedded_ones_unless_they_are_asked_for(changed: dict[str, Any], jobs: list[str]):
    quick = Suite(name="quick", jobs=(*SPECTRUM.jobs, SCENES))
    fine = {"models": (), "data": ("./mine",), "suite": quick}
    (of,) = api._suites(api.EvaluationRequest(**(fine | changed)), DatasetCache(Path())).values()
    assert [entry.id for entry in of.jobs] == jobs


@pytest.mark.parametrize(
    ("suite", "task", "data"),
    [
        (None, None, ["digits"]),
        ("quick", None, ["digits"]),
        ("boxes", None, ["digit-scenes"]),
        ("quick", "detect", ["digit-scenes"]),
        (None, "linear-svm", ["digits"]),
        ("dense", None, ["digit-scenes-maps"]),
        ("dinov2", None, ["digits", "digit-scenes-maps"]),
        (None, "segment-knn", ["digit-scenes-maps"]),
    ],
)
def test_where_no_data_are_named_the_embedded_ones_are_of_the_kind_that_the_tasks_take(
    suite: str | None, task: str | None, data: list[str]
):
    assert api._examples(suites.load(suite) if suite else None, task) == data


def test_one_absent_data_set_among_others_is_skipped(checkpoint: Callable[[int], Path]):
    found = transferbench.evaluate(checkpoint(0), SPECTRUM.only("knn"), ["imagenet", "tiny"], control=False)
    assert [(record.dataset, record.status) for record in found] == [("imagenet", "skipped"), ("tiny", "ok")]


class Resized(nn.Module):
    """A live module without parameters: `side` x `side` places, then what is asked for."""

    def __init__(self, side: int, then: Callable[[torch.Tensor], torch.Tensor] = torch.relu) -> None:
        super().__init__()
        self.side, self.then = side, then

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.then(nn.functional.adaptive_avg_pool2d(images, self.side).flatten(1))


def values(found: list[Record]) -> list[list[float]]:
    return [[score.value for score in record.scores] for record in found]


@pytest.fixture
def kept_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRANSFERBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_live_modules_of_one_class_share_neither_features_nor_records(kept_features: Path, tmp_path: Path):
    modules = [Resized(4), Resized(1), Resized(4, torch.square)]
    apart = [transferbench.evaluate(module, SPECTRUM, "tiny") for module in modules]
    together = transferbench.evaluate(modules, SPECTRUM, "tiny", out=tmp_path / "out")
    assert values(together) == [each for found in apart for each in values(found)]
    assert len({record.digest for record in together}) == 3
    assert len({str(each) for each in values(together)[::2]}) == 3
    assert len(list((tmp_path / "out/records").iterdir())) == 6
    assert values(transferbench.evaluate(Resized(1), SPECTRUM, "tiny", out=tmp_path / "out")) == values(apart[1])
    assert len(list((tmp_path / "out/records").iterdir())) == 6


def test_nothing_of_a_random_module_is_taken_up_again_and_it_is_said(kept_features: Path, tmp_path: Path):
    module = Resized(4, lambda x: nn.functional.dropout(x, 0.5))
    calls = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="Resized: two passes over the same images differ"):
            calls.append(transferbench.evaluate(module, SPECTRUM, "tiny", out=tmp_path / "out"))
    assert values(calls[0]) != values(calls[1])
    assert len({record.identity for found in calls for record in found}) == 4
    assert "no result of this one is taken up again" in calls[0][0].load_report.assumed[0]
    assert [path.name for path in kept_features.iterdir()] == []


def test_data_that_breaks_when_it_is_opened_fails_its_jobs_and_no_others(
    checkpoint: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = sys.modules["transferbench.run.dataset_cache"].open_split
    refused = tmp_path / "refused"
    refused.mkdir()

    def broken(data: str, split: str, root: Path) -> LabeledImages:
        if data == "broken" and split == "test":
            raise KeyError("bbox")
        return opened(data.replace("broken", "tiny"), split, root)

    monkeypatch.setattr("transferbench.run.dataset_cache.open_split", broken)
    data = ["broken", "imagenet", f"{refused}", "tiny"]
    found = transferbench.evaluate(checkpoint(0), SPECTRUM.only("knn"), data, control=False)
    assert [(record.dataset, record.status) for record in found] == [
        ("broken", "failed"),
        ("imagenet", "skipped"),
        ("refused", "failed"),
        ("tiny", "ok"),
    ]
    assert (found[0].is_bug, found[2].is_bug) == (True, False)
    assert "KeyError: 'bbox'" in (found[0].error or "")
    (alone,) = transferbench.evaluate(checkpoint(0), SPECTRUM.only("knn"), "broken", control=False)
    assert alone.status == "failed"
    asked = api.EvaluationRequest([checkpoint(0)], ["broken", "tiny"], SPECTRUM.only("knn"), control=False)
    plan = api.prepare(asked, api.Execution(Runtime(torch.device("cpu")))).plan()
    assert [(each.job.data, "KeyError" in each.problem) for each in plan] == [("broken", True), ("tiny", False)]
    assert transferbench.evaluate(Resized(1), SPECTRUM, ["broken", "tiny"])[-1].status == "ok"
    with pytest.raises(UserError, match="broken cannot be opened: KeyError: 'bbox'"):
        transferbench.evaluate(Resized(1), SPECTRUM, "broken")


FEW = SuiteEntry(task="fewshot", settings={"shots": 2, "others": [], "draws": 1})
SEEDS = Suite(name="s", jobs=(SuiteEntry(task="knn", settings={"ks": [3], "k": 3}), FEW))


def test_seeds_run_what_depends_on_them_beside_a_random_network_each(checkpoint: Callable[[int], Path], tmp_path: Path):
    file, out = checkpoint(0), tmp_path / "out"
    found = transferbench.evaluate(file, SEEDS, "tiny", out=out, seeds=(0, 1, 2))
    alone = transferbench.evaluate(file, SEEDS, "tiny", out=out)
    runs = [(r.candidate, r.task, r.seed, r.card.origin.seed) for r in found]
    few = [("intl-tiny", "fewshot", seed, 0) for seed in (0, 1, 2)]
    control = [
        ("random-init", task, seed * (task == "fewshot"), seed) for seed in range(3) for task in ("knn", "fewshot")
    ]
    assert runs == [("intl-tiny", "knn", 0, 0), *few, *control]
    assert {r.identity for r in alone} <= {r.identity for r in found}, "seed 0 is what it was"
    assert len({r.digest for r in found if r.candidate == "random-init"}) == 3
    counts = {
        (row.name, column.task): (cell.n, cell.std is None)
        for row in tables.leaderboard(found).rows
        for column, cell in row.cells.items()
    }
    one, three = (1, True), (3, False)
    assert counts[("intl-tiny", "knn")] == one
    assert {counts[key] for key in counts if key[0] != "chance"} - {one} == {three}
    assert counts[("random-init", "knn")] == three
    assert [r.score(r.primary).seeded for r in found[:2]] == [False, True]  # pyright: ignore[reportOptionalMemberAccess]


def test_the_same_file_twice_is_one_row(checkpoint: Callable[[int], Path], tmp_path: Path):
    file = checkpoint(0)
    again = [file, str(file), f"{file.parent}/./{file.name}"]
    found = transferbench.evaluate(again, SEEDS.only("knn"), "tiny", control=False, seeds=(0, 0))
    assert rows(found) == [("intl-tiny", "knn")]


def test_what_runs_once_is_said(checkpoint: Callable[[int], Path]):
    execution = api.Execution(Runtime(torch.device("cpu")))
    asked = api.EvaluationRequest([checkpoint(0)], ["tiny"], SEEDS, seeds=(0, 1), control=False)
    assert api.prepare(asked, execution).notes == ("Run once, since no seed changes it: tiny knn.",)


MINE = torch.randint(0, 256, (24, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
CLASSES = torch.arange(24) % 3


def test_a_named_module_runs_one_task_on_images_handed_over(tmp_path: Path):
    torch.manual_seed(0)
    data = transferbench.data_of((MINE[:16], CLASSES[:16]), (MINE[16:], CLASSES[16:]), name="mine")
    module, out = Pool(), tmp_path / "out"
    (found,) = transferbench.evaluate(module, SPECTRUM, data, name="mean color", task="knn", out=out)
    assert (found.candidate, found.dataset, found.task, found.status) == ("mean color", "mine", "knn", "ok")
    assert found.data_fingerprint["test"] == data.open_split("test").fingerprint
    both = transferbench.evaluate(module, SPECTRUM, ["tiny", data], out=out)
    assert {(r.dataset, r.task, r.status) for r in both} == {
        (name, task, "ok") for task in ("spectrum", "knn") for name in ("tiny", "mine")
    }
    assert found.identity in {record.identity for record in both}, "the same images by the same module"


def test_several_labels_handed_over_are_judged_by_precision():
    verdicts = torch.randint(0, 2, (24, 3), generator=torch.Generator().manual_seed(1))
    data = transferbench.data_of((MINE[:12], verdicts[:12]), (MINE[12:], verdicts[12:]), name="mine")
    (found,) = transferbench.evaluate(
        Pool(),
        data=data,
        task="linear_svm",
        overrides=["costs=[1.0]", "folds=2"],
        preprocess=Preprocess(size=None, crop=16),
    )
    assert (found.status, found.primary, found.error) == ("ok", "map11", None)


def test_what_was_loaded_is_evaluated_as_its_file_under_a_name(checkpoint: Callable[[int], Path]):
    loaded = transferbench.load(checkpoint(0))
    found = [
        transferbench.evaluate(model, SPECTRUM.only("knn"), "tiny", control=False, name="ours")[0]
        for model in (loaded, checkpoint(0), f"theirs={checkpoint(0)}")
    ]
    assert [record.candidate for record in found] == ["ours"] * 3
    assert len({record.identity for record in found}) == 1
    for models, name in (([checkpoint(0), checkpoint(1)], "ours"), (checkpoint(0), " ")):
        with pytest.raises(UserError, match="name"):
            transferbench.evaluate(models, SPECTRUM, "tiny", name=name)


def test_settings_of_features_reach_the_jobs_that_read_some_and_overrides_win(checkpoint: Callable[[int], Path]):
    few = Suite(name="s", jobs=(SuiteEntry(task="spectrum"), FEW, SCENES))
    request = api.EvaluationRequest([], ["tiny"], few, features={"layer": "layer2"})
    (of,) = api._suites(request, DatasetCache(Path())).values()
    assert [entry.settings.get("layer") for entry in of.jobs] == ["layer2", "layer2", None]
    found = transferbench.evaluate(
        checkpoint(0),
        Suite(name="s", jobs=few.jobs[:2]),
        "tiny",
        control=False,
        features=FeatureSpec(layer="layer2", pooling="max"),
        overrides=["spectrum.layer=layer3"],
    )
    assert [(r.status, r.config["layer"], r.config["pooling"]) for r in found] == [
        ("ok", "layer3", "max"),
        ("ok", "layer2", "max"),
    ]


def test_settings_of_features_that_a_job_could_not_follow_are_refused(checkpoint: Callable[[int], Path]):
    with pytest.raises(UserError, match=r"^features: (.*\n)+.*Did you mean 'layer'"):
        transferbench.evaluate(checkpoint(0), SPECTRUM, "tiny", features={"layr": "stem"})
    plain = SuiteEntry(task="spectrum")
    assert plain.lacking({"layer": "stem", "elsewhere": 1}) == {"elsewhere": 1}
    assert SCENES.lacking({"layer": "stem"}) == {}, "it trains its backbone"
    (found,) = transferbench.evaluate(
        checkpoint(0), SPECTRUM.only("knn"), "tiny", control=False, features=FeatureSpec(precision="bfloat16")
    )
    assert found.config["precision"] == "bfloat16"


def test_the_public_names_are_listed_and_found():
    assert (
        {"compare", "data_of", "evaluate", "extract", "images_of", "load"}
        == set(transferbench.__all__)
        <= set(dir(transferbench))
    )
    assert all(callable(getattr(transferbench, name)) for name in transferbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        transferbench.evaluat  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
