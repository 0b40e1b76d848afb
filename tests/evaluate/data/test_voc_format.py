"""What VOC's annotation of an image may hold, and what is said of the rest."""

import pytest
from annotated import voc_object

from transferbench.data import voc_format

SIZE = "<size><width>40</width><height>30</height></size>"
CAR = voc_object("car", 0, (5, 7, 24, 21))


def read(size: str = SIZE, objects: str = CAR) -> tuple[tuple[int, int], list[voc_format.VocObject]]:
    return voc_format.read(f"<annotation>{size}{objects}</annotation>".encode())


def test_corners_count_from_0():
    assert read() == ((30, 40), [("car", (4.0, 6.0, 24.0, 21.0), False)])
    assert read(objects=voc_object("dog", 1, (5, 7, 5, 7)))[1] == [("dog", (4.0, 6.0, 5.0, 7.0), True)]


@pytest.mark.parametrize(("text", "is_difficult"), [("True", True), (" 1 ", True), ("Unspecified", False), ("", False)])
def test_difficult_is_read_as_tools_write_it(text: str, is_difficult: bool):
    ((*_, found),) = read(objects=CAR.replace("<difficult>0", f"<difficult>{text}"))[1]
    assert found == is_difficult


@pytest.mark.parametrize(
    ("size", "objects", "said"),
    [
        (SIZE.replace("40", "0"), CAR, "<size> states the width '0'"),
        (SIZE.replace("30", "-30"), CAR, "<size> states the height '-30'"),
        (SIZE.replace("30", "tall"), CAR, "<size> states the height 'tall'"),
        ("", CAR, "<size> states the height ''"),
        (SIZE, voc_object("car", 0, (24, 7, 5, 21)), r"object 1 \(car\) has the corners 24 7 5 21, the lower right"),
        (SIZE, CAR + voc_object("dog", 0, (5, 21, 24, 7)), r"object 2 \(dog\) has the corners 5 21 24 7"),
        (SIZE, CAR.replace("24", "nan"), "object 1 has the xmax 'nan'"),
        (SIZE, CAR.replace("24", "inf"), "object 1 has the xmax 'inf'"),
        (SIZE, CAR.replace("24", "wide"), "object 1 has the xmax 'wide'"),
        (SIZE, CAR.replace("24", "1e9"), r"corners 5 7 1e\+09 21 in an image of 40 x 30"),
        (SIZE, CAR.replace("<name>car</name>", ""), "object 1 is without <name>"),
        (SIZE, CAR.replace("<xmin>5</xmin>", ""), "object 1 is without <bndbox/xmin>"),
        (SIZE, CAR.replace("<difficult>0", "<difficult>2"), r"object 1 \(car\) has <difficult> '2', where 0 or 1"),
        ("<", "", "it is no XML"),
    ],
)
def test_what_is_wrong_is_said_with_the_object(size: str, objects: str, said: str):
    with pytest.raises(ValueError, match=said):
        read(size, objects)
