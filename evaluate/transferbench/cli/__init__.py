"""The `evaluate` command: its name, what it offers and its exit codes."""

import copy
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from transferbench.cli import comparing, ending, evaluating, extracting, files, printing, showing, tabulating
from transferbench.errors import UserError, unknown
from transferbench.plugins import allow, is_outside
from transferbench.registries import TASKS

ABOUT = """
Evaluate self-supervised checkpoints under published protocols.

\b
evaluate all a.pth --data digits              on the embedded digits
evaluate all INTL=a.pth MoCo=b.pth --data D   two files on train/, val/ of D
evaluate all a.pth --seeds 3 --out results    three seeds; resumes by itself
evaluate all timm:vit_small_patch16_224.dino  downloaded by its name
evaluate knn a.pth --set knn.k=5              one task, one setting changed
evaluate features a.pth --data D -o f.npz     features and labels as arrays
evaluate table results                        CSV, LaTeX, Markdown, HTML
evaluate report results                       all of it as one HTML page
evaluate published --method intl              what papers report
evaluate compare INTL MoCo                    task by task, with paired tests
evaluate gate results --against baseline      exit 1 if a number got worse
evaluate inspect a.pth                        format, architecture, tensors
evaluate convert a.pth b.pth --to torchvision the same weights, other names
evaluate shrink imagenet small --size 256     a copy that decodes faster
evaluate ls                                   tasks, suites, data, formats
evaluate show knn                             every setting of a task
evaluate cache --prune --older 30             frees what was not used for long
evaluate doctor                               what works on this machine
"""
POINTER = "`evaluate show TASK` prints every setting: type, range, default, meaning; `show SUITE` those of its jobs."
ALL = "all"
LIBRARIES = ("torchvision", "timm", "hf")
WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".safetensors", ".pth.tar")
"""How the names of checkpoints begin or end."""


def _allow(names: list[str] | None) -> list[str] | None:
    """Import what the person names, before any file is read that may name it."""
    for name in names or ():
        allow(name)
    return names


class TaskCommands(TyperGroup):
    """The commands, and one for each file in the folder of tasks, which is not imported for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name; tasks last."""
        return [*super().list_commands(ctx), *TASKS.names()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, which for a task is `all` under the task's name; each takes `--code` too.

        Raises:
            UserError: when there is none, with the nearest name.
        """
        command = copy.copy(super().get_command(ctx, cmd_name)) or self._of_task(ctx, cmd_name)
        command.params = [*command.params, *(param for param in self.params if param.name == "code")]
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a signal ends it between two steps."""
        with printing.stoppable("What is finished is kept; run the same command again to continue."):
            return super().invoke(ctx)

    def _of_task(self, ctx: Any, name: str) -> Any:
        """The command `all` with its option `--task` set."""
        if not is_outside(name) and name.replace("-", "_") not in TASKS.names():
            raise _no_command(name, self.list_commands(ctx))
        return task_command(super().get_command(ctx, ALL), name)


def _no_command(name: str, known: list[str]) -> UserError:
    """What is said of a word that is no command, and may be the checkpoint that a command is for."""
    path = name.rpartition("=")[2]
    is_library = path.partition(":")[0] in LIBRARIES and ":" in path
    if is_library or path.lower().endswith(WEIGHTS) or Path(path).is_file():
        return UserError(f"'{name}' is a checkpoint and no command. To evaluate it: evaluate all {shlex.quote(name)}")
    return unknown("command", name, known)


def task_command(evaluate_all: Any, name: str) -> Any:
    """A copy of the command `all` that runs one task."""
    command = copy.copy(evaluate_all)
    command.name, command.short_help = name, None
    command.help = TASKS.summary(name.replace("-", "_")) if not is_outside(name) else f"The task {name}."
    command.epilog = f"`evaluate show {name}` prints every setting of this task, for --set."
    command.rich_help_panel = "Tasks: like `all`, with this task only"
    command.params = [copy.copy(param) for param in evaluate_all.params]
    for param in command.params:
        if param.name == "task":
            param.default, param.hidden = name, True
    return command


app = typer.Typer(
    cls=TaskCommands,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=ABOUT,
    epilog=POINTER,
    no_args_is_help=True,
)


@app.callback()
def options(
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            help="Import package.module or file.py, so that files may name it.",
            callback=_allow,
            is_eager=True,
            expose_value=False,
            rich_help_panel="Code from elsewhere",
        ),
    ] = None,
) -> None:
    """The options that stand in front of the command's name or behind it."""


app.command(ALL, epilog=POINTER)(evaluating.evaluate_all)
app.command(epilog=extracting.EPILOG)(extracting.features)
app.command(epilog=POINTER)(tabulating.table)
app.command(epilog=POINTER)(tabulating.report)
app.command("published", epilog=POINTER)(tabulating.published_)
app.command(epilog=POINTER)(comparing.compare)
app.command(epilog=POINTER)(comparing.gate)
app.command(epilog=POINTER)(comparing.pack)
app.command("inspect", epilog=POINTER)(files.inspect_)
app.command(epilog=POINTER)(files.convert)
app.command(epilog=POINTER)(files.shrink)
app.command(epilog=POINTER)(files.ls)
app.command(epilog=POINTER)(showing.show)
app.command(epilog=POINTER)(files.download)
app.command(epilog=POINTER)(files.cache)
app.command(epilog=POINTER)(files.doctor)


def main() -> None:
    """Run the command line; what a person can mend is printed without a traceback, with exit code 2."""
    ending.run(app)
