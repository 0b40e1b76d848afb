"""Pixels of image files against PIL's, with simplejpeg and without it: equal, and the same errors."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from sklearn.datasets import load_sample_image

from transferbench.data import DatasetInfo, LabeledImages, decoding
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
    for index, why in ((1, "image file is truncated"), (2, "in no format that PIL reads")):
        for ask in (images.image, images.pixels):
            with pytest.raises(UserError, match=rf"image '{names[index]}' of photos/train: {why}.*Repair"):
                ask(index)
