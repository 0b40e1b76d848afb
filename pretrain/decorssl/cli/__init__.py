"""The `pretrain` command: its options and messages."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decorssl.cli import looking
from transferbench.errors import UserError

if TYPE_CHECKING:
    from decorssl.recipe import Recipe

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

ABOUT = """
Pretrain a backbone, or list what there is.

\b
pretrain ls                               methods and recipes
pretrain ls intl                          those of one method
pretrain intl                             the embedded digits, in minutes
pretrain intl --data cifar10              the published recipe
pretrain intl --data my.zip --recipe intl-cifar10 --set epochs=100
pretrain intl --resume                    go on with a stopped run
pretrain intl --log tensorboard           curves beside the run's own files
pretrain log RUN --log tensorboard        the same of a run that is there
pretrain times RUN...                     images a second, waiting, time to an accuracy
pretrain intl --slurm nodes=2,gpus=8      the same as a job in SLURM's queue
pretrain collapse                         train with several methods, compare their spectra
torchrun --nproc-per-node 8 -m decorssl intl         several GPUs
"""
PLACE = "Where and how it runs (cannot change the result)"


@app.command(help=ABOUT)
def pretrain(
    method: Annotated[str, typer.Argument(help="A method's name, `ls`, `log`, `times`, or a study (`collapse`).")],
    of: Annotated[
        list[str] | None,
        typer.Argument(help="After `ls` a method, after `log` and `times` run folders.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A data set's name, or a folder or zip with train/<class>/*.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name, or a YAML or JSON file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, such as optim.lr=0.1.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/RECIPE-seedN.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="The same as --set seed=N.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds a study has.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=PLACE)] = "auto",
    workers: Annotated[int | None, typer.Option(help="Loader processes.", rich_help_panel=PLACE)] = None,
    views: Annotated[
        str, typer.Option(help="How views are made: auto, pil, batched, compiled.", rich_help_panel=PLACE)
    ] = "auto",
    compile_: Annotated[
        str,
        typer.Option(
            "--compile", help="torch.compile: off, default, reduce-overhead, max-autotune.", rich_help_panel=PLACE
        ),
    ] = "off",
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.", rich_help_panel=PLACE)] = None,
    knn_every: Annotated[int, typer.Option(help="Epochs between k-NN checks; 0: none.", rich_help_panel=PLACE)] = 10,
    watch_every: Annotated[int, typer.Option(help="Epochs between spectra; 0: none.", rich_help_panel=PLACE)] = 1,
    save_seconds: Annotated[float, typer.Option(help="Seconds between saves.", rich_help_panel=PLACE)] = 60,
    keep_states: Annotated[
        int, typer.Option(min=1, help="How many of the last states stay.", rich_help_panel=PLACE)
    ] = 2,
    bad_images: Annotated[
        int, typer.Option(min=0, help="Replace up to so many broken images; 0: an error.", rich_help_panel=PLACE)
    ] = 0,
    slurm: Annotated[
        str | None,
        typer.Option(help="Queue it: nodes=2,gpus=8,time=24:00:00,partition=P,...", rich_help_panel=PLACE),
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="Curves too: tensorboard, wandb or both, with a comma.", rich_help_panel=PLACE)
    ] = None,
) -> None:
    """Wire the options to a session."""
    places = tuple(filter(None, (log or "").split(",")))
    match method:
        case "ls":
            looking.listed(of)
            return
        case "log":
            looking.send(looking.runs(of), places or ("tensorboard",))
            return
        case "times":
            looking.times(looking.runs(of))
            return
        case _ if of:
            raise UserError(f"'{of[0]}' is one word too many: after the method come options, each with two dashes.")
    from decorssl import compiling, session, study, supply
    from decorssl import recipe as recipes

    place = session.Place(
        device=device,
        workers=workers,
        data_root=data_root,
        knn_every=knn_every,
        watch_every=watch_every,
        save_seconds=save_seconds,
        keep_states=keep_states,
        bad_images=bad_images,
        log=places,
        views=supply.way(views),
        compile=compiling.mode(compile_),
    )
    overrides = [*(set_ or []), *([f"data={data}"] if data else []), *([f"seed={seed}"] if seed is not None else [])]
    if method in study.names():
        if recipe or seed is not None or slurm:
            raise UserError(
                f"The study {method} has a recipe and seeds of its own, and runs here: use --set and --seeds."
            )
        stopped = study.run(study.read(method), seeds, overrides, out or Path("runs") / method, place, _say)
    else:
        chosen = recipes.read(recipe or recipes.for_method(method, data or "digits"), overrides)
        if chosen.method != method:
            raise UserError(f"The recipe {chosen.name} is of the method {chosen.method}, not of {method}.")
        if slurm:
            _queue(chosen, out, resume, slurm)
            return
        stopped = session.run(chosen, out, resume, place, _say)
    if stopped:
        raise typer.Exit(128 + stopped)


def _queue(recipe: "Recipe", out: Path | None, resume: bool, request: str) -> None:
    """Put this command into SLURM's queue, when the folder is one it could work in."""
    from decorssl import runlog, session
    from transferbench import slurm, state

    folder = out or session.folder_of(recipe)
    state.require_writable(folder)
    runlog.check_folder(folder, recipe, resume)
    arguments = [word for word in slurm.arguments_left(sys.argv[1:]) if word != "--resume"]
    work = slurm.Work(f"pretrain {recipe.name}", "decorssl", [*arguments, "--resume"])
    _say(slurm.submit(work, slurm.read(request), folder / "slurm"))


def _say(message: str) -> None:
    print(message, flush=True)


def main() -> None:
    """Run the command line; what a person can mend is told bare, with exit code 2."""
    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
