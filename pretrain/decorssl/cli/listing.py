"""Commands that train nothing: lists, settings, and the curves and speed of existing runs."""

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from decorssl.catalog import (
    DATA,
    METHODS,
    STUDIES,
    generic_names,
    recipe_file,
    recipe_names,
    recipe_values,
    study_names,
)
from decorssl.cli.options import names_in
from transferbench import garbage, settings
from transferbench.errors import UserError, elsewhere, unknown

ROW = "  {:27} {:13} {:>6} {:>5}  {:24} {}"
HEAD = ("recipe", "data", "epochs", "batch", "expected", "source")


def ls(
    methods: Annotated[list[str] | None, typer.Argument(help="Only these methods.", show_default=False)] = None,
) -> None:
    """List methods, recipes with their published scores, and studies."""
    listed(methods)


def show(name: Annotated[str, typer.Argument(help="A method, a recipe or its YAML or JSON file, or a study.")]) -> None:
    """Print every setting with its type, range, default, value and meaning."""
    from transferbench.cli.showing import draw

    with garbage.importing():
        from decorssl.sheets import sheet

        found = sheet(name)
    draw(found)


def log(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run folders. Default: the current folder.", show_default=False)
    ] = None,
    to: Annotated[str, typer.Option("--log", help="tensorboard, wandb, or both separated by a comma.")] = "tensorboard",
) -> None:
    """Send the curves of existing runs to TensorBoard or Weights & Biases."""
    from decorssl import curves, runlog

    names = names_in(to)
    for folder in _folders(runs):
        with curves.opened(folder, names, settings.from_file(folder / runlog.RECIPE)) as sinks:
            sinks.replay(folder, runlog.FILES)
        print(f"sent the steps of {folder} to {', '.join(names)}")


def report(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run folders. Default: the current folder.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("pretraining.html"),
) -> None:
    """Make one HTML page of runs' curves: loss, k-NN, online linear probe, ranks."""
    from decorssl import run_charts
    from transferbench import state

    state.require_replaceable(out)
    state.write(out, run_charts.page_of(_folders(runs)))
    print(f"wrote {out}")


def times(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run folders. Default: the current folder.", show_default=False)
    ] = None,
) -> None:
    """Show how fast runs were: images per second, time spent waiting, time to an accuracy."""
    from decorssl import pace

    print(pace.table([pace.read(folder) for folder in _folders(runs)]))


def _folders(named: list[str] | None) -> list[Path]:
    """The run folders of these names; without any, the folder one is in."""
    from decorssl import runlog

    folders = [Path(name) for name in named or ["."]]
    for folder in folders:
        if not (folder / runlog.STEPS).is_file():
            nothing = f"There is no run in {folder}: it holds no {runlog.STEPS}. Name a run folder."
            raise UserError(elsewhere(folder) or nothing)
    return folders


def listed(asked: list[str] | None) -> None:
    """Print methods, recipes and studies, or the methods and recipes asked for."""
    for method in asked or ():
        if method not in METHODS.names():
            raise unknown("method", method, METHODS.names())
    methods = asked or METHODS.names()
    print("Methods")
    for name in methods:
        print(textwrap.fill(METHODS.summary(name), 110, initial_indent=f"  {name:14} ", subsequent_indent=" " * 17))
    print(f"Recipes (METHOD uses METHOD-DATA for the data set DATA)\n{ROW.format(*HEAD)}")
    tables = ["\n".join(_row(own) for own in recipe_names(name)) for name in methods]
    print("\n\n".join(filter(None, tables)))
    if not asked:
        print("Recipes for any method and any images, by their size (chosen where METHOD has none for the data)")
        for name in generic_names():
            values, _ = recipe_values(recipe_file(name))
            print(f"  {name:14} {values['summary']}, {values['epochs']} epochs, batches of {values['batch_size']}")
        print("Studies")
        for name in study_names():
            print(f"  {name:14} {settings.from_file(STUDIES / f'{name}.yaml')['summary']}")


def _row(recipe: str) -> str:
    """A recipe in one line of the list, as its file and those below it have it: reading its settings needs torch."""
    values, _ = recipe_values(recipe_file(recipe))
    data, targets = values.get("data", DATA), values.get("targets", ())
    scores = ", ".join(f"{_kind(target['task'], data)} {target['value']:g}" for target in targets)
    source = targets[0]["source"] if targets else ""
    row = ROW.format(recipe, data, values["epochs"], values["batch_size"], scores or "none stated", source)
    return row.rstrip()


def _kind(task: str, data: str) -> str:
    """What was measured, without the data set: `knn5` of `knn5_cifar10`."""
    return task.partition(f"_{data.replace('-', '')}")[0]
