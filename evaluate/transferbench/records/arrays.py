"""The arrays of an artifact, whose stated sizes are held against a limit before anything is unpacked."""

import io
import zipfile
import zlib

import numpy as np

LARGEST = 1 << 28
"""Bytes of all arrays of one artifact: predictions of 16 million images."""


def arrays(content: bytes) -> dict[str, np.ndarray]:
    """What an `.npz` holds, by name; numbers and text alone.

    Raises:
        ValueError: when it is none, is damaged, holds objects, or states more than `LARGEST` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            stated = sum(member.file_size for member in members.infolist())
        if stated > LARGEST:
            raise ValueError(f"it states {stated:,} bytes, and more than {LARGEST:,} are not read")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: _whole(archive[name]) for name in archive}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, LookupError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is no whole file of arrays ({error})") from None
    except MemoryError:
        raise ValueError("a member states more numbers than it holds") from None


def _whole(array: object) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise ValueError("it holds something that is no array")
    return array


def classes(by_name: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions, one whole number a test image.

    Raises:
        ValueError: when there are none, or they are something else.
    """
    if not {"labels", "predictions"} <= set(by_name):
        raise ValueError(f"it does not hold one class per image: {', '.join(by_name)}")
    labels, predictions = by_name["labels"], by_name["predictions"]
    if labels.ndim != 1 or labels.shape != predictions.shape or {labels.dtype.kind, predictions.dtype.kind} - set("iu"):
        raise ValueError(f"its labels {labels.shape} and predictions {predictions.shape} are not one class per image")
    return labels, predictions
