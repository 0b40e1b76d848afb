"""The options of a run, in groups that several commands share."""

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from decorssl.session import RunOptions

RECIPE = "What to train"
FOLDER = "Output"
PLACE = "How it runs (does not change the result)"
WATCHED = {"knn": 10, "linear": 10, "spectrum": 1}
"""What can be measured while training, and its epochs between measurements where none are stated."""
DEFAULT_WATCH = ("knn", "spectrum")


@dataclass(frozen=True)
class RecipeOptions:
    """What is trained."""

    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set's name, or images with or without labels: a folder, zip, list of paths (.txt), shards or "
            "parquet files. Repeat it for several together.",
            rich_help_panel=RECIPE,
        ),
    ] = None
    image_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="The values of black and white in images of more than 8 bits a channel.",
            metavar="LOW HIGH",
            rich_help_panel=RECIPE,
        ),
    ] = None
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.", rich_help_panel=RECIPE)] = None
    batch_size: Annotated[
        int | None, typer.Option(help="The global batch, over all processes.", rich_help_panel=RECIPE)
    ] = None
    lr: Annotated[float | None, typer.Option(help="The learning rate, optim.lr.", rich_help_panel=RECIPE)] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, such as settings.trade_off=0.05.", rich_help_panel=RECIPE),
    ] = None
    out: Annotated[
        Path | None, typer.Option(help="The run folder. Default: runs/RECIPE-seedN.", rich_help_panel=FOLDER)
    ] = None

    def overrides(self, seed: int | None = None) -> list[str]:
        """The settings that are changed."""
        stated = None if self.image_range is None else list(self.image_range)
        plain = {"epochs": self.epochs, "batch_size": self.batch_size, "optim.lr": self.lr}
        names = self.data if self.data is None or len(self.data) != 1 else self.data[0]
        data = json.dumps(names, ensure_ascii=False) if isinstance(names, list) else names
        given = {"data": data, "image_range": stated, "seed": seed, **plain}
        return [*(self.set_ or []), *(f"{name}={value}" for name, value in given.items() if value is not None)]


@dataclass(frozen=True)
class StartOptions:
    """What a method starts from."""

    recipe: Annotated[
        str | None, typer.Option(help="Any recipe's name, or a YAML or JSON file.", rich_help_panel=RECIPE)
    ] = None
    arch: Annotated[
        str | None, typer.Option(help="The network: resnet50, vit-small, timm:NAME.", rich_help_panel=RECIPE)
    ] = None
    seed: Annotated[int | None, typer.Option(help="The same as --set seed=N.", rich_help_panel=RECIPE)] = None


@dataclass(frozen=True)
class Placed:
    """Where and how it runs."""

    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=PLACE)] = "auto"
    workers: Annotated[int | None, typer.Option(help="Number of loader processes.", rich_help_panel=PLACE)] = None
    views: Annotated[
        str, typer.Option(help="How views are made: auto, pil, batched, compiled.", rich_help_panel=PLACE)
    ] = "auto"
    compile_: Annotated[
        str,
        typer.Option(
            "--compile", help="torch.compile: off, default, reduce-overhead, max-autotune.", rich_help_panel=PLACE
        ),
    ] = "off"
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.", rich_help_panel=PLACE)] = None
    watch: Annotated[
        str | None,
        typer.Option(help="Measure while training: knn, linear, spectrum, or some (by commas).", rich_help_panel=PLACE),
    ] = None
    watch_every: Annotated[
        int | None,
        typer.Option(
            help="Epochs between measurements of what --watch names, or of spectra without it; 0: never.",
            rich_help_panel=PLACE,
        ),
    ] = None
    knn_every: Annotated[
        int | None,
        typer.Option(help="Epochs between k-NN measurements, whatever --watch says; 0: never.", rich_help_panel=PLACE),
    ] = None
    save_seconds: Annotated[float, typer.Option(help="Seconds between saves.", rich_help_panel=PLACE)] = 60
    keep_states: Annotated[
        int, typer.Option(min=1, help="How many of the last states to keep.", rich_help_panel=PLACE)
    ] = 2
    bad_images: Annotated[
        int,
        typer.Option(
            min=0,
            help="Replace up to this many images that cannot be decoded; 0: stop at the first.",
            rich_help_panel=PLACE,
        ),
    ] = 0
    log: Annotated[
        str | None,
        typer.Option(help="Also log to tensorboard, wandb, or both (separated by a comma).", rich_help_panel=PLACE),
    ] = None

    def place(self) -> "RunOptions":
        """The same for a session, what is no way of making views, compiling or watching refused."""
        from decorssl import compiling, session, view_pipeline

        every = intervals(self.watch, self.watch_every, self.knn_every)
        return session.RunOptions(
            device=self.device,
            workers=self.workers,
            data_root=self.data_root,
            knn_every=every["knn"],
            linear_every=every["linear"],
            watch_every=every["spectrum"],
            save_seconds=self.save_seconds,
            keep_states=self.keep_states,
            bad_images=self.bad_images,
            log=names_in(self.log),
            views=view_pipeline.way(self.views),
            compile=compiling.mode(self.compile_),
        )


GROUPS = (RecipeOptions, StartOptions, Placed)


def intervals(watch: str | None, every: int | None, knn: int | None) -> dict[str, int]:
    """Epochs between measurements of each kind, 0 for never, of `--watch`, `--watch-every` and `--knn-every`.

    Raises:
        UserError: for a name that is no kind of measurement.
    """
    from transferbench.errors import unknown

    named = DEFAULT_WATCH if watch is None else names_in(watch)
    for name in named:
        if name not in WATCHED:
            raise unknown("measurement", name, tuple(WATCHED))
    asked = () if every is None else ("spectrum",) if watch is None else named
    found = {name: 0 if name not in named else every if name in asked else usual for name, usual in WATCHED.items()}
    return {name: value or 0 for name, value in found.items()} | ({} if knn is None else {"knn": knn})


def names_in(names: str | None) -> tuple[str, ...]:
    """Names written with commas between them."""
    return tuple(filter(None, (names or "").split(",")))


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with the fields of its groups of options as parameters of its own, for typer to read."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hint in GROUPS}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        inner = _fields(groups[name]) if name in groups else [parameter.replace(annotation=hints[name])]
        parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in inner]

    @functools.wraps(command)
    def spread_out(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        command(**given)

    signed: Any = spread_out
    signed.__signature__ = inspect.Signature(parameters)
    signed.__annotations__ = {each.name: each.annotation for each in parameters}
    del signed.__wrapped__
    return spread_out


def _fields(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
        for each in fields(group)
    ]
