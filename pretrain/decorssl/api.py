"""Pretraining from Python, as the command `pretrain` does it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from decorssl import crossing, runlog, session
from transferbench import stopping
from transferbench.data.live import LabeledSplits, handed_over
from transferbench.errors import UserError


def train(
    method: str,
    data: str | Path | LabeledSplits | Sequence[str | Path | LabeledSplits] | None = None,
    *,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    options: session.RunOptions | None = None,
    say: session.Say = print,
) -> Path:
    """Train a backbone, as `pretrain METHOD`; the same call with `resume` goes on with a run that was stopped.

    Args:
        method: a method's name, or its import path.
        data: a data set's name or path, several of them, or images handed over by `transferbench.images_of` (without
            labels) or `transferbench.data_of`; by default the embedded digits.
        recipe: any recipe's name or file; by default one by method and data.
        overrides: `NAME=VALUE`, as `--set`.
        out: the run's folder; by default `runs/RECIPE-seedN`.
        options: where and how it runs.
        say: is given what the command prints, line by line.

    Returns:
        The path of the backbone.

    Raises:
        UserError: before anything is trained, for settings or data that do not fit; and as `pretrain` ends with one.
        Interrupted: when a signal stopped the run, its state saved.
    """
    options = options or session.RunOptions()
    named = [] if data is None else [data] if isinstance(data, str | Path | LabeledSplits) else list(data)
    names, live = handed_over(named)
    if live and len(names) > 1:
        raise UserError("Images that are handed over are trained on alone. Join them in one data set first.")
    options = replace(options, live=next(iter(live.values()), options.live))
    given = [f"data={json.dumps(names) if len(names) > 1 else names[0]}"] if names else []
    overrides = [*overrides, *given]
    chosen = crossing.chosen(method, recipe, overrides, options.root, live=options.live)
    chosen = session.with_split(chosen, overrides, options)
    folder = Path(out) if out is not None else session.folder_of(chosen)
    if stopped := session.run(chosen, folder, resume, options, say):
        raise stopping.Interrupted(stopped)
    return folder / runlog.BACKBONE
