"""The `pretrain` command: its name, what it offers and its exit codes."""

import copy
from typing import Any

import typer
from typer.core import TyperGroup

from decorssl.catalog import METHODS, study_names
from decorssl.cli import comparing, listing, training
from transferbench.cli import ending, printing
from transferbench.errors import UserError, unknown
from transferbench.plugins import is_outside

ABOUT = """
Pretrain a backbone, or list methods, recipes and settings.

\b
pretrain ls                               methods and recipes
pretrain ls intl                          those of one method
pretrain show intl-cifar10                every setting and what it means
pretrain intl                             the embedded digits, in minutes
pretrain intl --data cifar10              the published recipe
pretrain vicreg --data ./photographs      any method on any images
pretrain intl --data my.zip --recipe intl-cifar10 --epochs 100
pretrain intl --resume                    resume a stopped run
pretrain intl --log tensorboard           curves beside the run's own files
pretrain log RUN --log tensorboard        the same for an existing run
pretrain report RUN...                    their curves as one HTML page
pretrain times RUN...                     images per second, waiting, time to an accuracy
pretrain intl --slurm nodes=2,gpus=8      the same as a job in SLURM's queue
pretrain compare intl vicreg --seeds 3    several methods trained alike, judged, in one table
pretrain collapse                         train with several methods, compare their spectra
torchrun --nproc-per-node 8 -m decorssl intl         several GPUs
"""
POINTER = "`pretrain show NAME` prints every setting of a method, recipe or study: type, range, default, meaning."
METHOD, STUDY = "METHOD", "STUDY"
"""The hidden commands that the methods and the studies are copies of."""


class MethodCommands(TyperGroup):
    """The commands, and one for each study and each method, none of which is imported for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name; studies and methods last."""
        own = [name for name in super().list_commands(ctx) if name not in (METHOD, STUDY)]
        return [*own, *study_names(), *METHODS.names()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, which for a method and a study is a copy of a hidden one under its name.

        Raises:
            UserError: when there is none, with the nearest name.
        """
        if cmd_name in study_names():
            return self._named(ctx, STUDY, cmd_name, "Studies")
        command = super().get_command(ctx, cmd_name)
        if command is not None and cmd_name not in (METHOD, STUDY):
            return command
        if not is_outside(cmd_name) and cmd_name.replace("-", "_") not in METHODS.names():
            if cmd_name.endswith((".yaml", ".yml", ".json")):
                raise UserError(f"'{cmd_name}' is a recipe and no method: pretrain METHOD --recipe {cmd_name}")
            raise unknown("command or method", cmd_name, self.list_commands(ctx))
        return self._named(ctx, METHOD, cmd_name, "Methods")

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As ever; options of a method may stand before its name."""
        at = self._place(args)
        return super().parse_args(ctx, [args[at], *args[:at], *args[at + 1 :]] if at else args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a signal ends it between two steps."""
        with printing.stoppable("Run the same command again to continue, a training with --resume."):
            return super().invoke(ctx)

    def _named(self, ctx: Any, hidden: str, name: str, panel: str) -> Any:
        """A copy of a hidden command with its option `--name` set."""
        command: Any = copy.copy(super().get_command(ctx, hidden))
        entry = name if is_outside(name) else name.replace("-", "_")
        command.name, command.hidden, command.rich_help_panel = name, False, panel
        if hidden == METHOD:
            command.help = METHODS.summary(entry) if not is_outside(name) else f"The method {name}."
            command.epilog = f"`pretrain show {name}` prints its settings, `pretrain show RECIPE` those of a recipe."
        else:
            command.epilog = f"`pretrain show {name}` prints its variants and every setting they share, for --set."
        command.params = [copy.copy(param) for param in command.params]
        for param in command.params:
            if param.name == "name":
                param.default = entry
        return command

    def _place(self, args: list[str]) -> int:
        """Where the command's name stands: in front, or behind options of a run with their values."""
        values = {
            option: 0 if getattr(param, "is_flag", False) else param.nargs
            for param in self.commands[METHOD].params
            for option in param.opts
        }
        at = 0
        while at < len(args) and args[at].partition("=")[0] in values:
            at += 1 + values.get(args[at], 0)
        return at if at < len(args) else 0


app = typer.Typer(
    cls=MethodCommands,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=ABOUT,
    epilog=POINTER,
    no_args_is_help=True,
)

app.command(METHOD, hidden=True, epilog=POINTER)(training.train)
app.command(STUDY, hidden=True, epilog=POINTER)(training.study)
app.command(epilog=POINTER)(comparing.compare)
app.command(epilog=POINTER)(listing.ls)
app.command(epilog=POINTER)(listing.show)
app.command(epilog=POINTER)(listing.log)
app.command(epilog=POINTER)(listing.report)
app.command(epilog=POINTER)(listing.times)


def main() -> None:
    """Run the command line; what a person can mend is printed without a traceback, with exit code 2."""
    ending.run(app)
