"""PNGs of any depth and color type, put together from the specification: Pillow writes no gray of 2 and 4 bits."""

import struct
import zlib

import numpy as np


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, bits: int, kind: int, before: bytes = b"") -> bytes:
    """`samples` h w or h w c, of so many bits each; `kind` is the color type, `before` the chunks ahead of the data."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(">u2")
    planes = np.unpackbits(rows.view(np.uint8).reshape(height, -1, 2), axis=2)[:, :, 16 - bits :]
    packed = np.packbits(planes.reshape(height, -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    ends = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + ends


def palette(bits: int) -> bytes:
    """Of colors whose brightness is another order than their numbers."""
    colors = [(255 - i * 37 % 256, i * 91 % 256, i * 53 % 256) for i in range(1 << bits)]
    return chunk(b"PLTE", bytes(value for color in colors for value in color))
