#!/bin/sh
# A central crop is taken for one operation, whichever library does it. Where the margin is odd, it cannot be halved:
# torchvision rounds half of it to the nearest even number, transformers down. Of margins 3, 7, 11 and so on the crops
# lie one pixel apart, in every image; of 1, 5, 9 they agree, which is why a test with one size may not show it.
#
# Versions: torch 2.15.0, torchvision 0.29.2, transformers 5.24.0, pillow 13.0.0.
# Seen: a row of pixels 0, 1, 2 ... cropped to 224 begins at 0, 2, 2, 4 with torchvision and at 0, 1, 2, 3 with
# transformers, for margins of 1, 3, 5 and 7.
# Ends with 0 when that is seen, 1 when it has changed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.15.0 torchvision==0.29.2 transformers==5.24.0 pillow==13.0.0

"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
from PIL import Image
from torchvision.transforms import functional
from transformers.image_transforms import center_crop

MARGINS, SIDE = (1, 3, 5, 7), 224
begins = {"torchvision": [], "transformers": []}
for margin in MARGINS:
    row = np.arange(SIDE + margin, dtype=np.uint8)
    image = np.repeat(np.repeat(row[None, :, None], SIDE, 0), 3, 2)
    begins["torchvision"].append(int(np.asarray(functional.center_crop(Image.fromarray(image), [SIDE, SIDE]))[0, 0, 0]))
    begins["transformers"].append(int(center_crop(image, (SIDE, SIDE))[0, 0, 0]))
for name, first in begins.items():
    print(f"{name}: crops of margins {MARGINS} begin at {first}")
sys.exit(0 if begins == {"torchvision": [0, 2, 2, 4], "transformers": [0, 1, 2, 3]} else 1)
PY
