#!/bin/sh
# A label map in a palette PNG is read by its indices. Pillow writes a palette of at most 16 colors at 1, 2 or 4 bits a
# pixel by itself, and torchvision's decode_image, as it is called by default, does not unpack these: each row begins
# with the file's packed bytes, and the rest of it holds no labels. No error, no warning; of 17 colors and more the
# indices are right. Mode GRAY gives, of any palette, the luminance of its colors.
#
# Versions: torchvision 0.29.2, torch 2.15.0, pillow 13.0.0.
# Seen: 2, 4 and 16 colors (1, 2 and 4 bits): rows begin with packed bytes, most labels are wrong; 17 and 256 colors
# (8 bits): all labels are right. Pillow's are right throughout; GRAY is within 1 of Pillow's luminance.
# Ends with 0 when that is seen, 1 when it has changed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy

"$work/venv/bin/python" -W ignore - <<'PY'
import io
import sys

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

SIDE, DEPTH_AT = 64, 24
as_expected = []
for colors in (2, 4, 16, 17, 256):
    labels = np.random.default_rng(0).integers(0, colors, (SIDE, SIDE), dtype=np.uint8)
    image = Image.new("P", (SIDE, SIDE))
    image.putdata(labels.ravel().tolist())
    image.putpalette([(37 * color + 11 * channel) % 256 for color in range(colors) for channel in range(3)])
    file = io.BytesIO()
    image.save(file, "PNG")
    bits = file.getvalue()[DEPTH_AT]
    bytes_of_file = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    read = decode_image(bytes_of_file)[0].numpy()
    gray = decode_image(bytes_of_file, ImageReadMode.GRAY)[0].numpy()
    by_pillow = np.asarray(Image.open(io.BytesIO(file.getvalue())))
    planes = labels[:, :, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    packed = np.packbits(planes.reshape(SIDE, -1), axis=1)
    begins_packed = np.array_equal(read[:, : packed.shape[1]], packed)
    wrong = (read != labels).mean()
    as_expected.append(
        np.array_equal(by_pillow, labels)
        and begins_packed
        and (wrong == 0 if bits == 8 else wrong > 0.2)
        and np.abs(gray - np.asarray(image.convert("L"), dtype=int)).max() <= 1
    )
    print(f"{colors} colors, {bits} bits: {wrong:.0%} of labels wrong, rows begin with packed bytes: {begins_packed}")
sys.exit(0 if all(as_expected) else 1)
PY
