"""transferbench: judge any self-supervised checkpoint on the protocols the field publishes."""

import importlib
from typing import TYPE_CHECKING, Any

from transferbench import renamed

if TYPE_CHECKING:
    from transferbench.api import evaluate as evaluate
    from transferbench.checkpoints.load import load as load
    from transferbench.comparison import compare as compare
    from transferbench.data.live import data_of as data_of
    from transferbench.data.live_images import images_of as images_of
    from transferbench.extracted import extract as extract

PLACES = {
    "compare": "transferbench.comparison",
    "data_of": "transferbench.data.live",
    "evaluate": "transferbench.api",
    "extract": "transferbench.extracted",
    "images_of": "transferbench.data.live_images",
    "load": "transferbench.checkpoints.load",
}
"""Where the public functions lie."""

__all__ = ["compare", "data_of", "evaluate", "extract", "images_of", "load"]


def __getattr__(name: str) -> Any:
    """Import on use, so that `import transferbench` needs no torch."""
    if name in PLACES:
        return getattr(importlib.import_module(PLACES[name]), name)
    raise AttributeError(f"module 'transferbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})


renamed.install()
