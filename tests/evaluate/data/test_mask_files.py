"""What is read of a label map: each kind of PNG by its own rule, and what is refused with its reason."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pngs import chunk, palette, png

from transferbench.data import decoding
from transferbench.data.class_lists import class_list
from transferbench.data.mask_files import MaskError, numbers
from transferbench.errors import UserError

COLORS = {(128, 64, 128): 0, (0, 0, 142): 1, (0, 0, 0): 255}


def truth(most: int) -> np.ndarray:
    """Every number up to `most`, in a map that is wider than high and of no whole byte a row."""
    return (
        np.random.default_rng(most).integers(0, most + 1, (5, 13))
        if most > 64
        else np.arange(65).reshape(5, 13) % (most + 1)
    )


def read(content: bytes, colors: dict | None = None) -> np.ndarray:
    return numbers(decoding.opened(content), colors)


def saved(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def paletted(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value for i in range(int(values.max()) + 1) for value in (255 - i * 37 % 256, i * 91 % 256, i)])
    return image


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_gives_its_indices(bits: int):
    values = truth((1 << bits) - 1)
    content = png(values, bits, 3, palette(bits))
    assert np.array_equal(read(content), values)
    by_pillow = saved(paletted(values))
    assert (by_pillow[24], by_pillow[25]) == (bits, 3)  # chosen by Pillow, which needs not be told
    assert np.array_equal(read(by_pillow), values)
    clear = png(values, bits, 3, palette(bits) + chunk(b"tRNS", b"\0"))  # as drawing programs write an empty class
    assert np.array_equal(read(clear), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_gray_gives_its_levels_as_they_are_stored(bits: int):
    values = truth((1 << bits) - 1)
    found = read(png(values, bits, 0))
    assert np.array_equal(found, values)
    assert found.dtype == (np.uint16 if bits == 16 else np.uint8)


def test_pillows_own_gray_is_read():
    values = truth(254)
    assert np.array_equal(read(saved(Image.fromarray(values.astype(np.uint8)))), values)
    assert np.array_equal(read(saved(Image.fromarray(values > 9))), values > 9)
    assert np.array_equal(read(saved(Image.fromarray((values * 200).astype(np.uint16)))), values * 200)


def test_color_is_read_by_its_table_and_by_nothing_else():
    table = np.array(list(COLORS))
    which = truth(2)
    content = saved(Image.fromarray(table[which].astype(np.uint8)))
    assert np.array_equal(read(content, COLORS), np.array(list(COLORS.values()))[which])
    with pytest.raises(MaskError, match=r"in color, and nothing says what its colors stand for.*classes\.json"):
        read(content)
    with pytest.raises(MaskError, match=r"it has \[0, 0, 142\], which classes\.json does not list"):
        read(content, {color: i for color, i in COLORS.items() if color != (0, 0, 142)})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (saved(Image.new("RGBA", (4, 3))), "alpha channel"),
        (saved(Image.new("LA", (4, 3))), "alpha channel"),
        (png(np.zeros((3, 4, 3), int), 16, 2), "in color with 16 bits a channel"),
        (saved(Image.new("L", (4, 3)), "JPEG"), "it is a JPEG, whose compression changes numbers"),
        (saved(Image.new("L", (4, 3)), "WEBP"), "it is a WEBP, which stores colors"),
        (saved(Image.new("L", (4, 3)), "WEBP", lossless=True), "it is a WEBP, which stores colors"),
        (saved(Image.new("P", (4, 3)), "GIF"), "it is a GIF, whose writers number the palette anew"),
        (saved(Image.new("L", (4, 3)), "TIFF"), "it is a TIFF, which is not read as one"),
        (saved(Image.new("L", (4, 3)), "BMP"), "it is a BMP, which is not read as one"),
        (saved(Image.new("L", (4, 3)), "PPM"), "it is a PPM, which is not read as one"),
        (
            saved(Image.new("L", (4, 3)), save_all=True, append_images=[Image.new("L", (4, 3), 1)]),
            "it is animated",
        ),
    ],
)
def test_what_holds_no_numbers_is_refused_with_its_reason(content: bytes, told: str):
    with pytest.raises(MaskError, match=rf"{told}.*Expected a PNG without transparency"):
        read(content, COLORS)


def test_a_list_of_classes_is_of_names_or_of_colors():
    assert class_list(b'["sky", "sea"]', "x") == (("sky", "sea"), None)
    entries = [{"name": "road", "color": [128, 64, 128]}, {"color": [0, 0, 0]}, {"name": "car", "color": [0, 0, 142]}]
    assert class_list(json.dumps(entries).encode(), "x") == (("road", "car"), COLORS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "x holds {}. Expected a list of names"),
        ("[]", r"x holds \[\]. Expected a list of names"),
        ('["sky", 1]', "entry 1 is 1"),
        ('["sky", {"color": [0, 0, 0]}]', "entry 1 is {'color'"),
        ('["sky", "sky"]', "x lists 'sky' twice"),
        ('[{"name": "sky"}]', "entry 0 is {'name': 'sky'}"),
        ('[{"name": "sky", "color": [0, 0, 256]}]', "entry 0 is"),
        ('[{"name": "sky", "color": [0, true, 0]}]', "entry 0 is"),
        ('[{"name": "sky", "color": [0, 0, 0]}, {"color": [0, 0, 0]}]', r"x lists \[0, 0, 0\] twice"),
        ('[{"color": [0, 0, 0]}]', "x names 0 colors"),
    ],
)
def test_any_other_list_is_refused(content: str, told: str):
    with pytest.raises(UserError, match=told):
        class_list(content.encode(), "x")


@pytest.mark.parametrize(("kind", "told"), [(0, "gray levels"), (3, "a palette's indices")])
def test_numbers_are_refused_where_colors_are_listed(kind: int, told: str):
    with pytest.raises(MaskError, match=rf"it holds {told}, which classes\.json gives no meaning"):
        read(png(truth(3), 2, kind, palette(2) if kind == 3 else b""), COLORS)
