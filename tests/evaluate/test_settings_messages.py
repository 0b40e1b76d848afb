"""What is said of a setting that does not exist or does not fit: what there is, and where it was read."""

from pathlib import Path

import pytest

from decorssl import recipe as recipes
from transferbench import suite
from transferbench.detection import recipe as detection
from transferbench.errors import UserError
from transferbench.fields import kind, rows
from transferbench.resources import resource
from transferbench.suite import Suite, SuiteEntry, plan
from transferbench.tasks import TASKS


@pytest.fixture
def recipe_text() -> str:
    return (recipes.FOLDER / "intl-digits.yaml").read_text()


def refused(*overrides: str, recipe: str | Path = "intl-cifar10") -> str:
    with pytest.raises(UserError) as told:
        recipes.read(recipe, overrides)
    return str(told.value)


def test_a_setting_that_does_not_exist_is_answered_with_those_of_its_level_and_no_far_fetched_name():
    (line,) = refused("optim.foo=1").splitlines()[1:]
    assert line.startswith("  optim.foo: no such setting. Settings of optim: kind, lr, scale_with_batch, ")
    assert "Did you mean" not in line
    assert line.endswith(", drop_factor. (--set)")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("lr=1", "'optim.lr'"),
        ("backbone.depth=50", "'backbone.arguments.depth'"),
        ("optim.iterations=5", "'settings.iterations'"),
        ("output=64", "'projector.output'"),
        ("optim.momentun=0.5", "'momentum'"),
        ("settings.iteratons=5", "'iterations'"),
        ("backbone.arguments.dpeth=50", "'depth'"),
    ],
)
def test_a_setting_in_the_wrong_place_is_found_and_a_misspelled_one_guessed(override: str, meant: str):
    name = override.partition("=")[0]
    assert f"  {name}: no such setting. Did you mean {meant}? Settings" in refused(override)


def test_what_does_not_fit_in_the_methods_and_the_backbones_settings_is_told_with_the_rest():
    text = refused("settings.iterations=9", "backbone.arguments.width=-1", "epochs=0")
    assert text.splitlines()[0].startswith("3 invalid setting(s) in ")
    for name in ("settings.iterations: found 9", "backbone.arguments.width: found -1", "epochs: found 0"):
        assert f"  {name}; " in text


def test_a_recipe_names_the_file_and_line_of_each_misfit_down_its_bases(tmp_path: Path):
    (tmp_path / "low.yaml").write_text("base: intl-cifar10\nsummary: low\noptim:\n  lr: -1\n")
    top = tmp_path / "top.yaml"
    top.write_text(f"base: {tmp_path / 'low.yaml'}\nsummary: top\nepochs: 3\nepoch: 4\n")
    first, *lines = refused("batch_size=1", recipe=top).splitlines()
    assert first == f"3 invalid setting(s) in {top}:"
    told = {line.split(":")[0].strip(): line.rpartition(" (")[2] for line in lines}
    assert told == {"optim.lr": f"{tmp_path / 'low.yaml'}, line 4)", "epoch": "line 4)", "batch_size": "--set)"}


def test_a_view_inside_a_list_has_its_line_and_the_names_of_its_operation(recipe_text: str, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text.replace("size: 32, scale", "size: 32, scail"))
    line = next(line for line in refused(recipe=path).splitlines() if "views.0" in line)
    assert "no such setting. Did you mean 'scale'? Settings of views.0.operations.0.crop: op, size, scale," in line
    assert line.endswith(
        f" (line {1 + path.read_text().splitlines().index('      - {op: crop, size: 32, scail: [0.4, 1.0]}')})"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("method: intel\nsummary: s\n", "Unknown method 'intel'. Did you mean 'intl'?"),
        ("base: intl-cifar\nsummary: s\n", "base: Unknown recipe 'intl-cifar'. Did you mean"),
        ("summary: [s\n", "cannot be read as YAML"),
    ],
)
def test_an_unreadable_recipe_is_named(text: str, told: str, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(text)
    message = refused(recipe=tmp_path / "mine.yaml")
    assert message.startswith(str(tmp_path / "mine.yaml"))
    assert told in message


def test_a_suite_names_its_file_and_line_for_its_own_misfits_and_those_of_its_jobs(tmp_path: Path):
    low, top = tmp_path / "low.yaml", tmp_path / "top.yaml"
    low.write_text("jobs:\n  - task: knn\n    settings:\n      k: 0\n")
    top.write_text(f"extends: {low}\njobs:\n  - {{task: logistic, settings: {{C: -1}}}}\n")
    with pytest.raises(UserError) as told:
        plan({"digits": suite.load(top)})
    lines = str(told.value).splitlines()
    assert lines[0] == f"knn: 1 invalid setting(s) in {low}:"
    assert lines[1].endswith("(line 4)")
    assert lines[2] == f"logistic: 1 invalid setting(s) in {top}:"
    assert lines[3].endswith("(line 3)")
    top.write_text("job: []\n")
    with pytest.raises(UserError, match=rf"1 invalid setting\(s\) in {top}:\n.*'jobs'.*\(line 1\)"):
        suite.load(top)
    top.write_text("extends: quik\n")
    with pytest.raises(UserError, match=f"^{top}, extends: Unknown suite 'quik'"):
        suite.load(top)


def test_a_detection_recipe_names_the_file_of_its_bases_that_is_wrong(tmp_path: Path):
    low, top = tmp_path / "low.yaml", tmp_path / "top.yaml"
    low.write_text(f"_BASE_: {resource('detectron_configs/coco_R_50_C4_1x.yaml')}\nSOLVER:\n  MAX_ITER: -3\n")
    top.write_text("_BASE_: low.yaml\nMODEL: {RPN: {NMS_TRESH: 0.5}}\n")
    with pytest.raises(UserError) as told:
        detection.read(top, ["SOLVER.GAMMA", "-1"])
    text = str(told.value)
    assert f"SOLVER.MAX_ITER: found -3; Input should be greater than or equal to 1 ({low}, line 3)" in text
    assert "(line 2)" in next(line for line in text.splitlines() if "NMS_TRESH" in line)
    assert "(--set)" in next(line for line in text.splitlines() if "GAMMA" in line)
    low.unlink()
    with pytest.raises(UserError, match=rf"{top}: there is no {low}, which it names as its _BASE_"):
        detection.read(top)


ONE = Suite(name="one", jobs=(SuiteEntry(task="knn"),))
SEVERAL = Suite(
    name="several",
    jobs=(SuiteEntry(task="knn"), SuiteEntry(task="semi", id="semi-1"), SuiteEntry(task="semi", id="semi-10")),
)


def test_a_setting_needs_no_job_in_front_where_there_is_one_job():
    jobs = plan({"a": ONE, "b": ONE}, ["k=5", "knn.temperature=0.1"], seeds=(0, 1))
    assert {(job.config.k, job.config.temperature) for job in jobs} == {(5, 0.1)}
    elsewhere = Suite(name="mine", jobs=(SuiteEntry(task="transferbench.tasks.knn"),))
    assert plan({"a": elsewhere}, ["k=7"])[0].config.k == 7
    assert plan({"a": elsewhere}, ["transferbench.tasks.knn.k=8"])[0].config.k == 8
    with pytest.raises(UserError, match=r"kk: no such setting.*Settings: .*k, ks,.*\(--set\)"):
        plan({"a": ONE}, ["kk=5"])
    with pytest.raises(UserError, match=r"no job 'kn' here\. Did you mean 'knn'"):
        plan({"a": ONE}, ["kn.k=5"])


def test_with_several_jobs_those_are_named_that_have_the_setting():
    with pytest.raises(UserError, match=r"name the job it is for, JOB\.epochs=3, with JOB one of semi-1, semi-10\.$"):
        plan({"a": SEVERAL}, ["epochs=3"])
    with pytest.raises(UserError, match="no job here has a setting 'epoch'"):
        plan({"a": SEVERAL}, ["epoch=3"])


def test_the_range_of_a_setting_is_read_off_its_constraints():
    found = {row.name: row.kind for row in rows(TASKS.load("linear").Config)}
    assert found["momentum"] == "float in [0, 1)"
    assert found["batch_size"] == "int >= 2"
    assert found["optimizer"] == "sgd | lars"
    assert found["crop_scale"] == "2 x float"
    assert {row.name: row.kind for row in rows(TASKS.load("knn").Config)}["per_class"] == "int >= 1 | none"
    assert kind(tuple[int, ...]) == "list of int"


def test_the_old_name_of_a_recipes_summary_is_read_and_told(recipe_text: str, tmp_path: Path):
    path = tmp_path / "old.yaml"
    path.write_text(recipe_text.replace("summary:", "about:"))
    with pytest.warns(FutureWarning, match=rf"{path}: `about` has been renamed `summary`"):
        old = recipes.read(path)
    assert old.summary == recipes.read("intl-digits").summary
    kept = tmp_path / "recipe.json"
    kept.write_text(old.model_dump_json().replace('"summary"', '"about"'))
    assert recipes.read(kept) == old
    assert recipes.read(kept).sha256 == old.sha256


def test_a_run_begun_under_the_old_name_goes_on(recipe_text: str, tmp_path: Path):
    import json

    from decorssl import runlog

    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text)
    now = recipes.read(path)
    before = now.model_dump(mode="json")
    (tmp_path / runlog.RECIPE).write_text(json.dumps({"about": before.pop("summary"), **before}))
    runlog.check_folder(tmp_path, now, resume=True)


def test_what_is_wrong_on_the_command_line_alone_is_no_files_fault():
    with pytest.raises(UserError) as told:
        plan({"digits": suite.load("quick").only("knn")}, ["knn.K=7"])
    lines = str(told.value).splitlines()
    assert lines[0] == "knn: 1 invalid setting(s) in --set:"
    assert lines[1].startswith("  K: no such setting.")
