"""A text file with the path of an image on each line, from the file's own folder where it is not absolute.

The order is the file's. The fingerprint is over the lines as they stand, with sizes and, where these tell too little,
checksums of the files.
"""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.sources.folder import fingerprint, marks
from transferbench.data.trees import FileReader, ImageEntry, crc_of
from transferbench.data.unlabeled.bare import bare
from transferbench.errors import UserError

LINES = "Expected one path a line, and nothing else on it; paths begin in the folder of the list."


def opened(path: Path) -> LabeledImages:
    """The images that a list names.

    Raises:
        UserError: when it is no text, names none, or names what is not there, with the first of those.
    """
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as a list of paths: {error}. {LINES}") from None
    names = list(dict.fromkeys(lines))
    if not names:
        raise UserError(f"{path} names no image. {LINES}")
    if missing := [name for name in names if not _is_file(path.parent / name)]:
        raise UserError(
            f"{path}: {len(missing)} of its {len(names)} paths lead to no file (first: {missing[0]}). {LINES}"
        )
    entries = [ImageEntry(name, (path.parent / name).stat().st_size, crc_of(path.parent / name)) for name in names]
    repeats = len(lines) - len(names)
    notes = [f"{path.stem}: {repeats} of the {len(lines)} lines repeat another and are left out."] * bool(repeats)
    read = FileReader(path.parent, tuple(names))
    return bare(path.stem, names, read, fingerprint(entries), marks(entries), notes)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name longer than a file's can be, or none
        return False
