"""Files that travel with the package and are no part of it in a checkout, such as `detectron_configs/`."""

from pathlib import Path


def resource(path: str) -> Path:
    """A file or folder by its path in the repository, found in a checkout and in an installed wheel alike.

    Raises:
        FileNotFoundError: when it is in neither; the installation is damaged.
    """
    package = Path(__file__).resolve().parent
    for root in (package, package.parents[1]):
        if (root / path).exists():
            return root / path
    raise FileNotFoundError(f"{path} is neither in {package} nor in {package.parents[1]}. Install transferbench again.")
