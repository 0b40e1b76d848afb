"""Pixels of image files against PIL's, with simplejpeg and without it: equal, and the same errors."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from sklearn.datasets import load_sample_image

from transferbench.data import DatasetInfo, LabeledImages, decoding, loading
from transferbench.data.transforms import Preprocess, evaluation
from transferbench.data.trees import FileReader
from transferbench.errors import UserError

PHOTOS = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
ODD = PHOTOS[0].crop((200, 100, 417, 231))
TURNED = Image.Exif()
TURNED[0x0112] = 6
FILES: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "gray": (ODD.convert("L"), "JPEG", {}),
    "cmyk": (ODD.convert("CMYK"), "JPEG", {}),
    "turned": (ODD, "JPEG", {"exif": TURNED}),
    "rgb": (ODD, "JPEG", {"keep_rgb": True}),
    "progressive": (ODD, "JPEG", {"progressive": True}),
    "restarts": (ODD, "JPEG", {"restart_marker_blocks": 2}),
    "tiny": (ODD.resize((1, 3)), "JPEG", {}),
    "png": (ODD, "PNG", {}),
    "palette": (ODD.quantize(9), "PNG", {}),
    "alpha": (ODD.convert("RGBA"), "PNG", {}),
    "webp": (ODD, "WEBP", {}),
}
QUICK = ["turned", "rgb", "progressive", "restarts", "tiny"]


def encoded(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def by_pil(content: bytes) -> np.ndarray:
    return np.asarray(opened(content).convert("RGB"))


def outcome(content: bytes, quickly: bool) -> np.ndarray | str:
    """The pixels, or the error."""
    try:
        return decoding.pixels(opened(content)) if quickly else by_pil(content)
    except (OSError, ValueError, SyntaxError) as error:
        return f"{type(error)} {error}"


@pytest.fixture(params=["simplejpeg", "alone"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    decoding._is_pils.cache_clear()
    yield request.param == "simplejpeg"
    decoding._is_pils.cache_clear()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Image.Image]:
    """The images that PIL decodes."""
    seen, load = [], JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda image: (seen.append(image), load(image))[1])
    return seen


@pytest.mark.parametrize("quality", [10, 75, 95, 100])
@pytest.mark.parametrize("subsampling", range(3))
def test_photographs_have_pils_pixels(installed: bool, subsampling: int, quality: int) -> None:
    for photo in PHOTOS:
        content = encoded(photo, "JPEG", {"quality": quality, "subsampling": subsampling})
        assert np.array_equal(decoding.pixels(opened(content)), by_pil(content))


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_has_pils_pixels(installed: bool, name: str, loads: list[Image.Image]) -> None:
    content = encoded(*FILES[name])
    image = opened(content)
    ours = decoding.pixels(image)
    if name in QUICK:
        assert (image not in loads) == installed
    assert np.array_equal(ours, by_pil(content))
    assert np.array_equal(ours, decoding.pixels(image)), "asked again"
    assert ours.flags.writeable, "machine code is compiled once, for arrays of one kind"


def test_directions_in_exif_are_left_alone(installed: bool) -> None:
    content = encoded(*FILES["turned"])
    assert decoding.pixels(opened(content)).shape == (ODD.height, ODD.width, 3)
    assert ImageOps.exif_transpose(opened(content)).size == (ODD.height, ODD.width)


@pytest.mark.parametrize("progressive", [False, True])
def test_damaged_files_end_as_by_pil(installed: bool, progressive: bool) -> None:
    """Cut off anywhere, or with bytes changed: an error that PIL gives as well, or the pixels that it makes of it."""
    content, rng = encoded(ODD, "JPEG", {"progressive": progressive}), np.random.default_rng(0)
    damaged = [content[:end] for end in [*range(620, len(content), 997), len(content) - 2, len(content) - 1]]
    for _ in range(40):
        changed = np.frombuffer(content, np.uint8).copy()
        changed[rng.integers(620, len(content), 3)] = rng.integers(0, 256, 3)
        damaged.append(changed.tobytes())
    outcomes = [outcome(each, True) for each in damaged]
    for each, ours in zip(damaged, outcomes, strict=True):
        assert np.array_equal(ours, outcome(each, False))
    assert any(isinstance(ours, str) for ours in outcomes)
    assert any(not isinstance(ours, str) for ours in outcomes[-40:])


def test_what_was_begun_with_an_image_is_kept(installed: bool) -> None:
    """An image that was decoded and changed, is to be scaled while it is decoded, or may end too soon."""
    content = encoded(ODD, "JPEG", {})
    image = opened(content)
    image.paste((1, 2, 3), (0, 0, 50, 50))
    assert np.array_equal(decoding.pixels(image), np.asarray(image))
    scaled = opened(content)
    scaled.draft("RGB", (ODD.width // 2, ODD.height // 2))
    assert decoding.pixels(scaled).shape[1] < ODD.width


def test_what_ends_too_soon_is_filled_where_pil_is_told_to(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(ODD, "JPEG", {})[:-2000]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert np.array_equal(decoding.pixels(opened(content)), by_pil(content))


def test_a_decoder_that_gives_other_pixels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    decode, content = simplejpeg.decode_jpeg, encoded(ODD, "JPEG", {"subsampling": 2})
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda data, **options: decode(data, fastupsample=True))
    decoding._is_pils.cache_clear()
    assert np.array_equal(decoding.pixels(opened(content)), by_pil(content))
    decoding._is_pils.cache_clear()


def test_a_data_set_gives_pixels_and_names_what_it_cannot_decode(installed: bool, tmp_path: Path) -> None:
    content = encoded(ODD, "JPEG", {})
    contents = {"whole.jpg": content, "short.jpg": content[:-2000], "other.jpg": b"no image", "gray.png": b""}
    contents["gray.png"] = encoded(ODD.convert("L"), "PNG", {})
    for name, each in contents.items():
        (tmp_path / name).write_bytes(each)
    info, names = DatasetInfo("photos", ("a",), ("train",), None, "1"), list(contents)
    images = LabeledImages(
        info, "train", np.zeros(4, np.int64), FileReader(tmp_path, tuple(names)), names, "fingerprint"
    )
    for index in (0, 3):
        assert np.array_equal(images.pixels(index), np.asarray(images.image(index)))
    for index, why in ((1, "image file is truncated"), (2, "in none of the formats that are read")):
        for ask in (images.image, images.pixels):
            with pytest.raises(UserError, match=rf"image '{names[index]}' of photos/train: {why}.*Repair"):
                ask(index)


def deep(kind: str, values: list[float], form: str = "TIFF") -> bytes:
    """A row of gray pixels of this numpy type."""
    return encoded(Image.fromarray(np.array([values], kind)), form, {})


def png16(color: int, values: list[int]) -> bytes:
    """A row of pixels of 16 bits a channel, of one of PNG's types of color."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    head = struct.pack(">IIBBBBB", len(values) // channels, 1, 16, color, 0, 0, 0)
    rows = zlib.compress(b"\0" + np.array(values, ">u2").tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def one(content: bytes, image_range: tuple[int, int] | tuple[float, float] | None = None) -> LabeledImages:
    stated = None if image_range is None else decoding.proper(image_range)
    info = DatasetInfo("photos", ("a",), ("train",), None, "1", image_range=stated)
    return LabeledImages(info, "train", np.zeros(1, np.int64), lambda i: decoding.opened(content), ["x.tif"], "")


DEEP = {
    "16 bits": (png16(0, [0, 4095, 8190]), (0, 8190)),
    "16 bits, big-endian": (deep(">u2", [0, 4095, 8190]), (0, 8190)),
    "32 bits": (deep("i4", [-(2**30), 0, 2**30]), (-(2**30), 2**30)),
    "float": (deep("f4", [0, 0.5, 1]), (0, 1)),
    "float below 0": (deep("f4", [-2, -1, 0]), (-2, 0)),
}


@pytest.mark.parametrize("name", DEEP)
def test_images_of_more_than_8_bits_are_scaled_by_a_stated_range_and_refused_without(name: str) -> None:
    content, (low, high) = DEEP[name]
    for ask in ("image", "pixels"):
        shown = np.asarray(getattr(one(content, (low, high)), ask)(0))
        assert shown[0, :, 0].tolist() == [0, 128, 255]
        assert shown.shape == (1, 3, 3)
        assert (shown == shown[..., :1]).all()
        wider = np.asarray(getattr(one(content, (low, 2 * high - low)), ask)(0))
        assert wider[0, :, 0].tolist() == [0, 64, 128]
        with pytest.raises(
            UserError,
            match=rf"'x\.tif' of .*more than 8 bits.* from {low:.10g} to {high:.10g}, and nothing says.*--image-range",
        ):
            getattr(one(content), ask)(0)
        for narrow in ((low, (low + high) / 2), ((low + high) / 2, high)):
            with pytest.raises(UserError, match=r"outside the range .* that was stated"):
                getattr(one(content, narrow), ask)(0)


@pytest.mark.parametrize("color", [2, 4, 6])
def test_color_of_16_bits_a_channel_is_read_by_its_upper_half_only_where_that_is_said(color: int) -> None:
    channels = {2: 3, 4: 2, 6: 4}[color]
    content = png16(color, [0] * channels + [256 * 99 + 7] * channels)
    assert np.asarray(one(content, (0, 65535)).image(0))[0, :, 0].tolist() == [0, 99]
    for stated in (None, (0, 4095)):
        with pytest.raises(UserError, match=r"16 bits a channel, of which the upper 8 are read.*--image-range 0 65535"):
            one(content, stated).image(0)


def test_a_tiff_may_say_that_0_is_white() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 100, 200]], np.uint16)).save(file, "TIFF")
    black, white = (struct.pack("<HHII", 262, 3, 1, value) for value in (1, 0))
    assert file.getvalue().count(black) == 1
    image = one(file.getvalue().replace(black, white), (0, 200)).image(0)
    assert np.asarray(image)[0, :, 0].tolist() == [255, 128, 0]


def test_what_is_scaled_keeps_its_direction_for_detection() -> None:
    content = encoded(Image.fromarray(np.array([[0, 100, 200]], np.uint16)), "PNG", {"exif": TURNED})
    assert decoding.plain(opened(content), (0.0, 200.0)).getexif()[0x0112] == 6
    assert one(content, (0, 200)).image(0).size == (3, 1)


def test_8_bits_are_never_scaled_and_a_header_may_state_the_range() -> None:
    for name in FILES:
        content = encoded(*FILES[name])
        assert np.array_equal(one(content, (0, 4095)).pixels(0), by_pil(content))
    for header, stored in ((b"P5 3 1 4095\n", [0, 2048, 4095]), (b"P5 3 1 65535\n", [0, 32896, 65535])):
        shown = np.asarray(one(header + np.array(stored, ">u2").tobytes()).image(0))
        assert shown[0, :, 0].tolist() == [0, 128, 255]
    bmp16 = encoded(Image.new("RGB", (2, 1), (255, 0, 0)), "BMP", {})
    assert np.asarray(one(bmp16).image(0))[0, 0].tolist() == [255, 0, 0]
    with pytest.raises(UserError, match="not finite"):
        one(deep("f4", [0, np.nan, 1]), (0, 1)).image(0)


@pytest.mark.parametrize("stated", [(1.0, 0.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(stated: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="black before white"):
        decoding.proper(stated)


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "XBM", "DDS", "JPEG2000"])
def test_only_formats_of_data_sets_are_opened(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not under their own name, nor when a source of one's own has opened them."""
    content = encoded(ODD.resize((32, 32)).convert("1" if form == "XBM" else "RGB"), form, {})
    with pytest.raises(UserError, match=r"'x\.tif' of .* in none of the formats that are read \(JPEG, PNG"):
        one(content).image(0)
    if form != "PDF":
        monkeypatch.setattr(decoding, "opened", lambda content: Image.open(io.BytesIO(content)))
        with pytest.raises(UserError, match="in none of the formats that are read"):
            one(content).pixels(0)


def test_stated_sizes_are_held_against_a_limit_before_anything_is_decoded(
    monkeypatch: pytest.MonkeyPatch, loads: list[Image.Image]
) -> None:
    monkeypatch.setattr(decoding, "LARGEST", 100)
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM"):
        assert one(encoded(ODD.resize((10, 10)), form, {})).image(0).size == (10, 10)
        loads.clear()
        with pytest.raises(UserError, match=r"'x\.tif' of .*: it is 101 x 1 pixels, and more than 100 are not decoded"):
            one(encoded(ODD.resize((101, 1)), form, {})).pixels(0)
        assert loads == []


def test_what_pil_gives_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(UserError, match=r"'x\.tif' of .*: it states more than"):
        one(encoded(ODD.resize((10, 10)), "PNG", {})).image(0)


def test_a_narrow_image_is_not_resized_to_more_pixels_than_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = evaluation(Preprocess(size=8, crop=8))
    monkeypatch.setattr(decoding, "LARGEST", 8 * 40)
    plans = loading.in_order(1, 1)
    for size in ((1, 5), (5, 1), (2, 10)):
        next(loading.batches(one(encoded(ODD.resize(size), "PNG", {})), transform, plans))
    for size in ((1, 6), (6, 1)):
        with pytest.raises(UserError, match=r"'x\.tif' of .*: it would be resized to (8 x 48|48 x 8) pixels"):
            next(loading.batches(one(encoded(ODD.resize(size), "PNG", {})), transform, plans))


def test_every_image_of_a_file_is_opened_with_a_list_of_formats() -> None:
    root = Path(decoding.__file__).parents[3]
    code = [path.read_text() for part in ("evaluate", "pretrain") for path in (root / part).rglob("*.py")]
    found = [call for text in code for call in re.findall(r"Image\.open\([^\n]*", text)]
    assert found
    assert [call for call in found if "formats=" not in call] == []
