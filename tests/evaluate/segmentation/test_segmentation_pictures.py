"""Sheets of label maps: VOC's colors, each picture in its place, and pixels that do not count pale in both maps."""

import io

import numpy as np
import pytest
from PIL import Image

from transferbench.data.label_maps import UNCOUNTED
from transferbench.segmentation.pictures import LINE, SIDE, UNCOUNTED_COLOR, colored, palette, sheet, shown


def literal(label: int) -> tuple[int, int, int]:
    """VOClabelcolormap.m, bit by bit."""
    red = green = blue = 0
    for j in range(8):
        red |= (label & 1) << 7 - j
        green |= (label >> 1 & 1) << 7 - j
        blue |= (label >> 2 & 1) << 7 - j
        label >>= 3
    return red, green, blue


def test_the_colors_are_those_of_voc():
    colors = palette(256)
    assert list(map(tuple, colors.tolist())) == [literal(label) for label in range(256)]
    assert len({tuple(color) for color in colors.tolist()}) == 256
    assert tuple(colors[255].tolist()) == UNCOUNTED_COLOR
    assert colors[[1, 15, 20]].tolist() == [[128, 0, 0], [192, 128, 128], [0, 64, 128]]


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.uint8])
def test_a_map_is_drawn_in_the_colors_of_its_classes(kind):
    labels = np.array([[0, 1], [2, 3]]).astype(kind)
    assert colored(labels).tolist() == [[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], [128, 128, 0]]]


def test_image_truth_and_prediction_stand_side_by_side():
    images = [Image.new("RGB", (40, 20), "red"), Image.new("L", (10, 20), 7)]
    truths = [np.full((20, 40), 1, np.int16), np.full((40, 20), 2, np.int16)]
    truths[0][:, :20] = UNCOUNTED
    predictions = [np.full((20, 40), 3), np.full((40, 20), 0)]
    page = Image.open(io.BytesIO(sheet(images, truths, predictions, ["a", "b", "c", "d"])))
    assert page.size == (6 * SIDE, SIDE + LINE)
    left, right, y = SIDE // 4, 3 * SIDE // 4, SIDE // 4
    assert page.getpixel((left, y)) == (255, 0, 0)
    assert [page.getpixel((SIDE + x, y)) for x in (left, right)] == [UNCOUNTED_COLOR, literal(1)]
    assert [page.getpixel((2 * SIDE + x, y)) for x in (left, right)] == [UNCOUNTED_COLOR, literal(3)]
    assert [page.getpixel((3 * SIDE + k * SIDE + left, SIDE // 2)) for k in range(3)] == [
        (7, 7, 7),
        literal(2),
        (0,) * 3,
    ]
    assert page.getpixel((left, 3 * SIDE // 4)) == (255, 255, 255)
    legend = [page.getpixel((k * SIDE + LINE // 2, SIDE + LINE // 2)) for k in range(4)]
    assert legend == [literal(label) for label in (0, 2, 3, 1)]


def test_images_are_chosen_evenly_and_once():
    assert shown(3) == [0, 1, 2]
    assert shown(15) == [0, 2, 4, 6, 8, 10, 12, 14]
