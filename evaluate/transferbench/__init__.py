"""transferbench: judge any self-supervised checkpoint on the protocols the field publishes."""

from typing import TYPE_CHECKING, Any

from transferbench import renamed

if TYPE_CHECKING:
    from transferbench.api import evaluate as evaluate
    from transferbench.comparison import compare as compare

__all__ = ["compare", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import on use, so that `import transferbench` needs no torch."""
    if name == "evaluate":
        from transferbench.api import evaluate

        return evaluate
    if name == "compare":
        from transferbench.comparison import compare

        return compare
    raise AttributeError(f"module 'transferbench' has no attribute '{name}'")


renamed.install()
