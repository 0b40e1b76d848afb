"""Repositories of the Hugging Face hub: `hf:facebook/dinov2-small`, or `hf:ORG/NAME@REVISION`."""

import json
from pathlib import Path

from transferbench.checkpoints import containers
from transferbench.checkpoints.downloads import Located, _hub
from transferbench.checkpoints.downloads.timm import overrides
from transferbench.errors import UserError


def find(name: str) -> Located:
    """The repository's weights, whole or in shards, with the files that say what weights do not.

    Raises:
        UserError: when there are none, or the download fails.
    """
    repository, revision = _hub.parted(name)
    files = _hub.listed(repository, revision)
    best = _hub.chosen(repository, files)
    (path,) = _hub.fetched(repository, revision, [best])
    if best == _hub.INDEX:
        _hub.fetched(repository, revision, containers.named(path))
    _hub.fetched(repository, revision, [beside for beside in _hub.BESIDE if beside in files])
    row, known = repository.rpartition("/")[2], _of_timm(path)
    told = (f"size, crop, interpolation, mean and std as in the config.json of {repository}",) if known else ()
    return Located(path, row, _hub.source(repository, path), known, told)


def _of_timm(path: Path) -> tuple[str, ...]:
    """The preprocessing that timm writes into the `config.json` of its own repositories; empty in others'."""
    beside = path.with_name("config.json")
    try:
        config = json.loads(beside.read_text()) if beside.is_file() else {}
        return overrides(config["pretrained_cfg"]) if "pretrained_cfg" in config else ()
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{beside} is not as timm writes it ({type(error).__name__}: {error}).") from None
