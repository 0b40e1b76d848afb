"""Packed annotations are the ones that were given, object by object."""

import numpy as np
import pytest

from transferbench.data.annotations import Annotated, Annotation
from transferbench.data.packing import Packed

CODE = {"size": [30, 40], "counts": [0, 60, 1140]}


def some(seed: int, images: int = 40) -> list[tuple[Annotation, ...]]:
    rng = np.random.default_rng(seed)

    def one() -> Annotation:
        outlines = [rng.random(2 * int(rng.integers(3, 9))).tolist() for _ in range(int(rng.integers(1, 4)))]
        mask = [outlines, CODE, None, []][int(rng.choice(4, p=[0.6, 0.1, 0.2, 0.1]))]
        x, y, width, height = rng.random(4).tolist()
        area = None if rng.random() < 0.2 else float(rng.random())
        flags = rng.random(2) < 0.3
        return Annotation((x, y, width, height), int(rng.integers(80)), mask, area, bool(flags[0]), bool(flags[1]))

    return [tuple(one() for _ in range(int(rng.integers(0, 5)))) for _ in range(images)]


def annotated(objects) -> Annotated:
    n = len(objects)
    return Annotated(objects, list(range(n)), [(30, 40)] * n, tuple(range(80)))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_packed_comes_out_to_the_bit(seed: int):
    objects = some(seed)
    packed = Packed(objects)
    assert list(packed) == objects
    assert [packed[i] for i in range(-40, 0)] == objects
    assert packed[3:20:4] == objects[3:20:4]
    assert len(packed) == 40
    assert packed == Packed(objects)
    assert packed != Packed(objects[:-1])
    with pytest.raises(IndexError):
        packed[40]


@pytest.mark.parametrize("seed", range(3))
def test_questions_to_all_are_answered_as_one_by_one(seed: int):
    objects = some(seed)
    found = annotated(objects)
    for with_masks in (False, True):
        learned = [
            i
            for i, image in enumerate(objects)
            if any(not each.crowd and each.mask != [] and (each.mask or not with_masks) for each in image)
        ]
        assert found.learnable(with_masks).tolist() == learned
        assert 0 < len(learned) < 40
    assert found.first_labels().tolist() == [image[0].label if image else -1 for image in objects]
    for crowd in (False, True):
        unmasked = [i for i, e in enumerate(objects) if any(o.mask is None and o.crowd == crowd for o in e)]
        assert found.unmasked(crowd).tolist() == unmasked
        assert unmasked
    every = [each for image in objects for each in image]
    assert found.judged == sum(not each.crowd and not each.difficult for each in every)
    assert found.packed.coded == any(each.mask == CODE and not each.crowd for each in every)
    assert list(found.subset(np.array([7, 2])).objects) == [objects[7], objects[2]]


def test_run_lengths_of_crowds_alone_leave_a_set_one_of_outlines():
    crowd, outline = Annotation((0, 0, 1, 1), 0, CODE, crowd=True), Annotation((0, 0, 1, 1), 0, [[0, 0, 1, 0, 1, 1]])
    assert not Packed([(crowd, outline)]).coded
    assert Packed([(crowd, outline), (crowd._replace(crowd=False),)]).coded


def test_nothing_at_all_can_be_packed():
    found = annotated([(), ()])
    assert list(found.objects) == [(), ()]
    assert found.learnable(True).tolist() == []
    assert found.first_labels().tolist() == [-1, -1]
    assert annotated([]).first_labels().tolist() == []
