"""A suite's settings are all checked before anything runs, and `--set` reaches every one of them."""

from pathlib import Path

import pytest

from transferbench import suite
from transferbench.data import SOURCES
from transferbench.errors import UserError
from transferbench.suite import Suite, SuiteEntry, plan
from transferbench.tasks import TASKS, taken

SEMI = Suite(
    name="s",
    jobs=(
        SuiteEntry(task="knn"),
        SuiteEntry(task="semi", id="semi-1", settings={"percent": 1}),
        SuiteEntry(task="semi", id="semi-10", settings={"percent": 10}),
    ),
)


def values(key: str, overrides: list[str]) -> dict[str, object]:
    return {job.id: getattr(job.config, key, None) for job in plan({"digits": SEMI}, overrides)}


def test_a_task_reaches_all_its_jobs_and_an_id_only_its_own():
    assert values("epochs", ["semi.epochs=3", "semi_10.epochs=4"]) == {"knn": None, "semi-1": 3, "semi-10": 4}
    assert values("percent", []) == {"knn": None, "semi-1": 1, "semi-10": 10}


def test_every_misfit_of_every_job_is_reported_at_once():
    overrides = ["knn.kay=3", "semi-1.epochs=0", "smei.epochs=3", "epochs=3", "knn.temperature=-1"]
    with pytest.raises(UserError) as caught:
        plan({"digits": SEMI}, overrides)
    message = str(caught.value)
    for part in ("kay: no such setting", "temperature", "semi-1", "epochs: found 0", "'smei'", "Did you mean 'semi'?"):
        assert part in message
    assert "JOB.epochs=3" in message
    assert "semi-10:" not in message


def test_an_unknown_task_is_reported_with_the_nearest():
    with pytest.raises(UserError, match=r"Unknown task .knnn.\. Did you mean .knn."):
        plan({"digits": Suite(name="s", jobs=(SuiteEntry(task="knnn"),))})


def test_jobs_run_data_set_by_data_set_in_the_suites_order_with_every_seed():
    jobs = plan({"a": SEMI, "b": SEMI.only("knn")}, [], (0, 1), 50)
    order = [(job.data, job.id, job.seed) for job in jobs]
    assert order[:3] == [("a", "knn", 0), ("a", "knn", 1), ("a", "semi-1", 0)]
    assert order[-2:] == [("b", "knn", 0), ("b", "knn", 1)]
    assert {job.limit for job in jobs} == {50}


def test_one_task_takes_the_suites_jobs_or_its_own_defaults():
    assert [entry.id for entry in SEMI.only("semi").jobs] == ["semi-1", "semi-10"]
    assert [entry.id for entry in SEMI.only("semi-10").jobs] == ["semi-10"]
    assert SEMI.only("linear").jobs == (SuiteEntry(task="linear"),)


@pytest.mark.parametrize("name", suite.names())
def test_every_suite_in_the_package_is_sound(name: str):
    found = suite.load(name)
    jobs = plan(dict.fromkeys(found.data or ["digits"], found))
    assert {job.task for job in jobs} <= set(TASKS.names())
    assert {job.id for job in jobs} == {entry.id for entry in found.jobs}
    assert set(found.data) <= set(SOURCES.names())


def test_a_job_runs_on_the_data_sets_it_names_and_a_suite_on_those_of_its_jobs(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("jobs: [{task: knn, data: [a, b]}, {task: semi, data: [b]}]")
    mine = suite.load(tmp_path / "mine.yaml")
    assert mine.data == ("a", "b")
    jobs = plan(dict.fromkeys(mine.data, mine))
    assert [(job.data, job.task) for job in jobs] == [("a", "knn"), ("b", "knn"), ("b", "semi")]
    with pytest.raises(UserError, match=r"The suite mine has no job for digits\. It is for a, b"):
        plan({"digits": mine})


def test_transfer_is_one_word_for_twelve_data_sets():
    transfer = suite.load("transfer")
    assert len(transfer.data) == 12
    jobs = plan(dict.fromkeys(transfer.data, transfer))
    assert {job.data: job.task for job in jobs} == dict.fromkeys(transfer.data, "logistic") | {"voc07": "linear_svm"}


def test_digits_has_its_own_suite_without_flips_and_others_take_quick():
    assert suite.suite_for("digits").name == "digits"
    assert suite.suite_for("imgs/zoo").name == "quick"
    own, quick = plan({"digits": suite.load("digits")}), plan({"digits": suite.load("quick")})
    assert [job.id for job in own] == [job.id for job in quick]
    flips = {
        job.id: (getattr(job.config, "flip", None), getattr(other.config, "flip", None))
        for job, other in zip(own, quick, strict=True)
    }
    assert flips["linear"] == flips["semi-1"] == flips["semi-10"] == (0.0, 0.5)


def test_a_suite_file_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: quick\noverrides: [semi-1.epochs=2]\njobs: [{task: knn, id: five, settings: {k: 5}}]\n")
    jobs = {job.id: job for job in plan({"digits": suite.load(path)})}
    assert list(jobs)[-1] == "five"
    assert (jobs["semi-1"].config.epochs, jobs["five"].config.k) == (2, 5)
    assert jobs["semi-10"].config.epochs != 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("jobs: []", "at least one job"),
        ("jobs: [{task: knn}, {task: knn}]", "different ids"),
        ("jobs: [{tsk: knn}]", "task"),
        ("job: [{task: knn}]", "Did you mean 'jobs'"),
        ("extends: quick\noverrides: [kn.k=1]", "no job 'kn'"),
        ("extends: quik", "Did you mean 'quick'"),
    ],
)
def test_a_suite_file_that_does_not_fit_says_why(tmp_path: Path, text: str, reason: str):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=reason):
        suite.load(tmp_path / "mine.yaml")


def test_a_misspelled_suite_is_met_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'quick'"):
        suite.load("quikc")


def ids(of: dict[str, Suite]) -> dict[str, list[str]]:
    return {data: [entry.id for entry in each.jobs] for data, each in of.items()}


def test_jobs_are_kept_and_skipped_by_id_and_by_task():
    of = {"a": SEMI, "b": SEMI.only("knn")}
    assert ids(suite.chosen(of, ["semi_10"])) == {"a": ["semi-10"]}
    assert ids(suite.chosen(of, ["knn", "semi"], ["semi-1"])) == {"a": ["knn", "semi-10"], "b": ["knn"]}
    assert ids(suite.chosen(of, (), ["semi"])) == {"a": ["knn"], "b": ["knn"]}
    with pytest.raises(UserError, match=r"Unknown job 'kmn'\. Did you mean 'knn'\?"):
        suite.chosen(of, (), ["kmn"])
    with pytest.raises(UserError, match=r"No job is left\. Jobs: knn, semi"):
        suite.chosen(of, ["knn"], ["knn"])


def test_own_images_leave_out_what_runs_on_embedded_ones_unless_nothing_else_is_there():
    quick = suite.load("quick")
    assert "detect" in [entry.id for entry in quick.jobs]
    assert [entry.id for entry in quick.on("./mine").jobs] == [e.id for e in quick.jobs if not e.embedded]
    assert quick.on("tiny-imagenet") == quick
    assert [entry.id for entry in quick.only("detect").on("./mine").jobs] == ["detect"]


def test_data_with_a_class_for_each_pixel_take_the_suite_of_dense_features():
    assert suite.suite_for("./mine", lambda: "miou").name == "dense"
    assert {job.task for job in plan({"ade20k": suite.load("dense")})} == {"segment_knn", "segment_linear"}


def test_dinov2s_suite_is_for_images_with_a_label_and_for_label_maps():
    jobs = plan(dict.fromkeys(["imagenet", "ade20k"], suite.load("dinov2")))
    kinds = {job.id: taken(TASKS.load(job.task)) for job in jobs}
    assert kinds == {
        "knn": ("one label",),
        "linear": ("one label",),
        "segment": ("label maps",),
        "segment-ms": ("label maps",),
    }
