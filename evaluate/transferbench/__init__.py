"""transferbench: judge any self-supervised checkpoint on the protocols the field publishes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferbench.api import evaluate as evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    """Import on use, so that `import transferbench` needs no torch."""
    if name == "evaluate":
        from transferbench.api import evaluate

        return evaluate
    raise AttributeError(f"module 'transferbench' has no attribute '{name}'")
