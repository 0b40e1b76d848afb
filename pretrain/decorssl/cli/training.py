"""Commands that train: a method, or the several methods of a study."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decorssl.catalog import recipe_file
from decorssl.cli.options import FOLDER, PLACE, RECIPE, Placed, RecipeOptions, StartOptions, spread
from transferbench import garbage
from transferbench.errors import UserError, printable

if TYPE_CHECKING:
    from decorssl.recipe import Recipe


@spread
def train(
    choice: RecipeOptions,
    start: StartOptions,
    placed: Placed,
    name: Annotated[str, typer.Option("--name", hidden=True)] = "",
    words: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the run in the folder, if there is one.", rich_help_panel=FOLDER),
    ] = False,
    slurm: Annotated[
        str | None,
        typer.Option(help="Submit to SLURM: nodes=2,gpus=8,time=24:00:00,partition=P,...", rich_help_panel=PLACE),
    ] = None,
) -> None:
    """Train a backbone with one method."""
    if words:
        raise UserError(
            f"Unexpected argument '{words[0]}': after the method come only options, which begin with two dashes."
        )
    if start.recipe is not None:
        recipe_file(start.recipe)
    if choice.data is not None:
        from transferbench.data import require_known

        for data in choice.data:
            require_known(data)
    with garbage.importing():
        from decorssl import crossing, session
    from transferbench import runtime

    place = placed.place()
    root = place.data_root or runtime.data_root()
    chosen = crossing.chosen(name, start.recipe, choice.overrides(start.seed), root, start.arch)
    chosen = session.with_split(chosen, choice.overrides(), place)
    if slurm is not None:
        _queue(chosen, choice.out, resume, slurm)
        return
    _end(session.run(chosen, choice.out, resume, place, say))


@spread
def study(
    choice: RecipeOptions,
    placed: Placed,
    name: Annotated[str, typer.Option("--name", hidden=True)] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.", rich_help_panel=RECIPE)] = 3,
    resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
) -> None:
    """Train with several methods and compare their features. Repeat the command to continue."""
    with garbage.importing():
        from decorssl import study as studies
    place = placed.place()
    folder = choice.out or Path("runs") / name
    _end(studies.run(studies.read(name), seeds, choice.overrides(), folder, place, say))


def say(message: str) -> None:
    """Print without buffering."""
    print(printable(message), flush=True)


def _end(stopped: int) -> None:
    if stopped:
        raise typer.Exit(128 + stopped)


def _queue(recipe: "Recipe", out: Path | None, resume: bool, request: str) -> None:
    """Submit this command to SLURM, if the folder is one it could run in."""
    from decorssl import runlog, session
    from transferbench import state
    from transferbench.runtime import slurm

    folder = out or session.folder_of(recipe)
    state.require_writable(folder)
    runlog.check_folder(folder, recipe, resume)
    arguments = [word for word in slurm.arguments_left(sys.argv[1:]) if word != "--resume"]
    work = slurm.Work(f"pretrain {recipe.name}", "decorssl", [*arguments, "--resume"])
    say(slurm.submit(work, slurm.read(request), folder / "slurm"))
