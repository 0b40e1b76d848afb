"""The data set that a record names: records come from anywhere, and a name in one opens no path and no code."""

from pathlib import Path

from transferbench.data import SOURCES
from transferbench.errors import UserError


def located(name: str, root: Path) -> str:
    """What `open_split` opens for the name in a record: a source, or what lies in `root` under that very name.

    Raises:
        UserError: for code from elsewhere that no person has named, and for a path, which may lead anywhere.
    """
    if name.replace("-", "_") in SOURCES.names():
        return name
    if own := SOURCES.named(name):
        return own
    if Path(name).suffix == ".py":
        SOURCES.require_known(name)
    if Path(name).parts != (name,) or name == ".." or not name.isprintable():
        raise UserError(f"A record names the data set '{name}'. Expected a name and no path: it is not opened.")
    paths = (path for path in (root / f"{name}.zip", root / name) if path.exists())
    return str(next(paths, root / name).absolute())
