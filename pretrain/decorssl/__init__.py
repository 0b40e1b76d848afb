"""decorssl: pretraining with whitening and decorrelation losses."""

import importlib
from typing import TYPE_CHECKING, Any

from decorssl.renamed import MODULES, NAMES
from transferbench import renamed

if TYPE_CHECKING:
    from decorssl.api import train as train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """Import on use, so that `import decorssl` needs no torch."""
    if name == "train":
        return importlib.import_module("decorssl.api").train
    raise AttributeError(f"module 'decorssl' has no attribute '{name}'")


renamed.install(MODULES, NAMES)
