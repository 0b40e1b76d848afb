"""`pretrain`'s commands: each method by its name, what there is to look at, and what worked before they were apart."""

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from decorssl import cli, session, sheets
from decorssl import recipe as recipes
from decorssl import study as studies
from decorssl.methods import METHODS
from transferbench import fields
from transferbench.errors import UserError
from transferbench.fields import rows

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pretrain(run_main: Callable[..., Run]) -> Run:
    """`pretrain(*arguments)`: the exit code and what stood on stdout and stderr; runs in a folder of its own."""
    return run_main("pretrain", cli)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a session or a study was asked for last, in place of one that trains."""
    found: dict[str, Any] = {}

    def run(recipe: Any, out: Any, resume: bool, place: Any, say: Any) -> int:
        found.update(recipe=recipe, out=out, resume=resume, place=place)
        return found.get("stop", 0)

    def study(chosen: Any, seeds: int, overrides: Any, out: Any, place: Any, say: Any) -> int:
        found.update(study=chosen, seeds=seeds, overrides=overrides, out=out, place=place)
        return 0

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(studies, "run", study)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["intl", "--data", "cifar10", "--set", "epochs=3", "--seed", "2", "--resume", "--knn-every", "0"],
        ["--data", "cifar10", "--resume", "--knn-every=0", "intl", "--set", "epochs=3", "--seed", "2"],
        [
            "--image-range",
            "0",
            "9",
            "intl",
            "--data=cifar10",
            "--set=epochs=3",
            "--seed=2",
            "--resume",
            "--knn-every=0",
        ],
        ["--seed", "2", "intl", "--recipe", "intl-cifar10", "--set=epochs=3", "--resume", "--knn-every", "0"],
    ],
)
def test_a_method_takes_its_options_before_and_after_its_name(
    arguments: list[str], pretrain: Run, asked: dict[str, Any]
) -> None:
    assert pretrain(*arguments) == (0, "", "")
    recipe = asked["recipe"]
    assert (recipe.name, recipe.epochs, recipe.seed, asked["out"]) == ("intl-cifar10", 3, 2, None)
    assert (asked["resume"], asked["place"]) == (True, session.RunOptions(device="auto", knn_every=0))


def test_where_it_runs_reaches_the_session(pretrain: Run, asked: dict[str, Any], tmp_path: Path) -> None:
    words = "--device cpu --workers 0 --views pil --watch-every 2 --save-seconds 9 --keep-states 3 --bad-images 4"
    asked["stop"] = 2
    code, *_ = pretrain(
        "intl-m",
        "--out",
        "here",
        "--log",
        "tensorboard,wandb",
        "--data-root",
        tmp_path,
        *words.split(),
        "--recipe",
        "intl_m-imagenet",
    )
    assert code == 130
    place = session.RunOptions("cpu", 0, tmp_path, 10, 2, 9.0, 3, 4, ("tensorboard", "wandb"), "pil")
    assert (asked["place"], asked["out"]) == (place, Path("here"))


def test_a_study_has_seeds_and_a_folder(pretrain: Run, asked: dict[str, Any]) -> None:
    assert pretrain("collapse", "--seeds", "5", "--set", "epochs=1", "--resume") == (0, "", "")
    assert asked["study"] == studies.read("collapse")
    assert (asked["seeds"], asked["overrides"], asked["out"]) == (5, ["epochs=1"], Path("runs/collapse"))
    assert pretrain("collapse", "--recipe", "intl-cifar10")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["intel"], "Did you mean 'intl'?"),
        (["colapse"], "Did you mean 'collapse'?"),
        (["METHOD"], "Unknown command or method 'METHOD'"),
        (["intl", "--recipe", "smal-32"], "Did you mean 'small-32'?"),
        (["intl", "--arch", "resnet"], "--arch resnet: no such network. Expected resnet18"),
        (["intl", "--data", "digts"], "Did you mean 'digits'?"),
        (["intl", "cifar10"], "Unexpected argument 'cifar10'"),
        (["intl", "--nope"], "--nope"),
        (["--resume"], "--resume"),
        (["intl", "--set", "lr=1"], "lr: no such setting. Did you mean 'optim.lr'?"),
        (["times", "nowhere"], "There is no run in nowhere"),
        (["show", "intl-cifer10"], "Did you mean 'intl-cifar10'?"),
    ],
)
def test_what_is_wrong_is_told_with_exit_code_2(arguments: list[str], told: str, pretrain: Run) -> None:
    code, _, err = pretrain(*arguments)
    assert code == 2
    assert told in err


def test_every_method_is_a_command_with_help_that_points_to_its_settings(pretrain: Run) -> None:
    text = pretrain("--help")[1]
    listed = {line.split()[1] for line in text.splitlines() if line.startswith("│ ") and line[2] != " "}
    assert {*METHODS.names(), *studies.names(), "ls", "show", "log", "times"} <= listed
    assert not {"METHOD", "STUDY"} & listed
    for name in ("ls", "show", "log", "times"):
        code, out, _ = pretrain(name, "--help")
        assert (code, "pretrain show NAME" in out) == (0, True), name
    for name in ("intl", "collapse"):
        assert f"pretrain show {name}" in pretrain(name, "--help")[1]
    assert "IterNorm with trace loss" in pretrain("intl", "--help")[1]


@pytest.mark.parametrize("name", METHODS.names())
def test_every_setting_of_every_method_says_what_it_means(name: str) -> None:
    found = sheets.sheet(name).grids[0].lines
    assert [line[0] for line in found] == [f"settings.{field}" for field in METHODS.load(name).Config.model_fields]
    assert all(line[-1] for line in found)


def test_every_setting_of_a_recipe_says_what_it_means() -> None:
    assert [row.name for row in rows(recipes.Recipe) if not row.meaning] == []
    from typing import get_args

    from transferbench.data.augment import Operation

    for operation in get_args(get_args(Operation)[0]):
        assert [row.name for row in rows(operation) if not row.meaning] == []


@pytest.mark.parametrize("name", ["intl-cifar10", "intl_m-imagenet", "wmse-stl10"])
def test_a_recipe_is_shown_with_every_value_it_resolves_to(name: str, pretrain: Run) -> None:
    recipe = recipes.read(name)
    code, out, err = pretrain("show", name)
    assert (code, err) == (0, "")
    shown = {line[0]: line for line in sheets.sheet(name).grids[0].lines}
    assert set(shown) == set(leaves(recipe.model_dump())) - {"name", "summary", "targets", "views"} | {
        "preprocess.channel_order",
        "preprocess.crop_start",
        "preprocess.input_range",
        "preprocess.resize",
        "image_range",
        "uniformity",
        "whitening",
    }
    assert shown["optim.lr"][2:4] == ("required", f"{recipe.optim.lr:g}")
    assert shown["backbone.arguments.depth"][3] == str(recipe.backbone.arguments["depth"])
    for line in shown.values():
        assert (line[4] == "*") == (line[2] not in ("required", line[3]))
        assert "  ".join(line[-1:]) in out
    for target in recipe.targets:
        assert target.source in out
    assert max(map(len, out.splitlines())) > 120
    assert "\x1b" not in out


@pytest.mark.parametrize("name", studies.names())
def test_a_study_is_shown_with_its_variants_and_what_they_share(name: str) -> None:
    study = studies.read(name)
    shown = sheets.sheet(name)
    assert [line[:2] for line in shown.grids[0].lines] == [(own, each.method) for own, each in study.variants.items()]
    values = {line[0]: line[3] for line in shown.grids[1].lines}
    assert "optim.lr" in values
    assert not {"method", "seed", "optim.loss_weight"} & values.keys()
    for variant in study.variants:
        recipe = study.recipe(variant, 0, ())
        assert values == {own: fields.shown(sheets.value_at(recipe, own)) for own in values}, variant
    assert shown.examples == (f"pretrain {name} --set optim.lr=0.15",)
    with pytest.raises(UserError, match=rf"no method, recipe or study '{name}s'\. Did you mean '{name}'\?"):
        sheets.sheet(f"{name}s")


def test_a_kept_run_is_shown_by_its_recipe(tmp_path: Path, pretrain: Run) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(recipes.read("intl-digits", ["optim.floor=0.5"]).model_dump_json())
    line = next(line for line in pretrain("show", path)[1].splitlines() if line.startswith("optim.floor"))
    assert line.split()[:8] == ["optim.floor", "float", "in", "[0,", "1]", "0.001", "0.5", "*"]


def test_no_function_of_the_command_line_has_more_parameters_than_one_can_see() -> None:
    folder = Path(cli.__file__).parent
    counts = {
        f"{path.stem}.{node.name}": len(node.args.args) + len(node.args.kwonlyargs)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert max(counts.values()) <= 8, counts


def test_a_job_that_states_nothing_is_not_run_here_instead(pretrain: Run) -> None:
    code, _, err = pretrain("intl", "--slurm", "", "--out", "out")
    assert (code, "found ''" in err, Path("out").exists()) == (2, True, False)


def leaves(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of all values in nested mappings."""
    found = []
    for name, value in values.items():
        inner = isinstance(value, Mapping) and (value or name not in ("settings",))
        found += leaves(value, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return found
