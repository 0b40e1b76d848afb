"""Whole, sliding and multi-scale inference against mmsegmentation's law, written out."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from labeled_shapes import TOKENS, candidate, shapes

from transferbench.data.transforms import Preprocess
from transferbench.segmentation import inference
from transferbench.segmentation.batched_heads import HeadRecipe, Heads
from transferbench.segmentation.dense_features import DenseFeatures, DenseReading
from transferbench.segmentation.examples import Sizing, resized_image
from transferbench.segmentation.inference import Inference, Looking, predicted, windows

CLASSES, PLAIN = 5, Sizing()


def looking(how: Inference, sizing: Sizing = PLAIN) -> Looking:
    features = DenseFeatures(candidate("vit", **TOKENS).backbone.eval(), DenseReading())
    return Looking(features, Preprocess(size=None, crop=32), sizing, how, 40, 32, torch.device("cpu"))


def heads(look: Looking, enlarge: str = "bilinear") -> Heads:
    """Heads whose classes are all over the image: normalized by its own features, with large weights."""
    draw = torch.Generator().manual_seed(1)
    made = Heads.first(HeadRecipe(enlarge=enlarge), 2, CLASSES, TOKENS["dim"], 0, torch.device("cpu"))
    maps = next(iter(look.views(shapes(1, 0).image(0)))).maps[0]
    made.mean.copy_(maps.mean((1, 2)))
    made.variance.copy_(maps.var((1, 2)))
    for each in made.parameters:
        each += torch.randn(each.shape, generator=draw) * 0.2
    return made


def literal(look: Looking, made: Heads, head: int, image, size: tuple[int, int]) -> torch.Tensor:
    """Probabilities by `EncoderDecoder.slide_inference` and `aug_test` of mmsegmentation (v0.27), in full."""
    total = torch.zeros(CLASSES, *size)
    side, stride = (
        look.inference.window or look.side,
        look.inference.stride or 2 * (look.inference.window or look.side) // 3,
    )
    for scale, flip in itertools.product(look.inference.scales, (False, True) if look.inference.flips else (False,)):
        high, wide = look.sizing.size(image.height, image.width, look.features.side, int(look.resolution * scale))
        x = resized_image(image, (high, wide), look.preprocess, look.sizing.interpolation)[None]
        x = x.flip(3) if flip else x
        logits, count = torch.zeros(1, CLASSES, high, wide), torch.zeros(1, 1, high, wide)
        is_whole = look.inference.inference == "whole"
        for row in range(1 if is_whole else max(high - side + stride - 1, 0) // stride + 1):
            for column in range(1 if is_whole else max(wide - side + stride - 1, 0) // stride + 1):
                bottom = high if is_whole else min(row * stride + side, high)
                right = wide if is_whole else min(column * stride + side, wide)
                top, left = (0, 0) if is_whole else (max(bottom - side, 0), max(right - side, 0))
                part = x[:, :, top:bottom, left:right]
                out = F.interpolate(made.logits(look.features(part), head), part.shape[2:], mode="bilinear")
                logits += F.pad(out, (left, wide - right, top, high - bottom))
                count[:, :, top:bottom, left:right] += 1
        assert (count > 0).all()
        logits = F.interpolate(logits / count, size, mode="bilinear").softmax(1)[0]
        total += logits.flip(2) if flip else logits
    return total


HOWS = [
    Inference(),
    Inference(inference="slide"),
    Inference(inference="slide", window=24, stride=9),
    Inference(scales=(1.0, 1.6)),
    Inference(inference="slide", window=16, stride=16, scales=(0.5, 1.3), flips=True),
    Inference(inference="slide", window=400, stride=100, flips=True),
]


@pytest.mark.parametrize("sizing", [Sizing(), Sizing(whole_patches="padded")], ids=["rounded", "padded"])
@pytest.mark.parametrize("how", HOWS, ids=lambda how: f"{how.inference}-{how.window}-{how.scales}-{how.flips}")
def test_classes_are_those_of_the_law_written_out(how: Inference, sizing: Sizing):
    look, image = looking(how, sizing), shapes(1, 0).image(0)
    made = heads(look)
    views = list(look.views(image))
    for head, size in ((0, (40, 48)), (1, (61, 33))):
        expected = literal(look, made, head, image, size)
        found = torch.from_numpy(predicted(made, head, views, size).astype(np.int64))
        # Equal but where two classes are as likely but for rounding.
        top = expected.gather(0, found[None])[0]
        torch.testing.assert_close(top, expected.max(0).values, atol=1e-5, rtol=1e-5)
        assert (found == expected.argmax(0)).float().mean() > 0.995
        assert len(found.unique()) > 2


def test_few_classes_at_a_time_are_as_all_at_once(monkeypatch: pytest.MonkeyPatch):
    look = looking(Inference(inference="slide", window=24, stride=10, flips=True))
    made = heads(look)
    one = looking(Inference(inference="slide", window=24, stride=10))
    image = shapes(1, 0).image(0)
    for each in (look, one):
        views = list(each.views(image))
        whole = predicted(made, 0, views, (80, 96))
        for few in (1, 80 * 96, 2 * 80 * 96 + 5):
            monkeypatch.setattr(inference, "AT_ONCE", few)
            assert np.array_equal(predicted(made, 0, views, (80, 96)), whole)
        monkeypatch.undo()


def test_windows_cover_everything_and_end_with_the_image():
    for size, side, stride in (((50, 70), 32, 21), ((20, 90), 32, 21), ((32, 32), 32, 32), ((33, 64), 16, 16)):
        seen = np.zeros(size, int)
        boxes = windows(size, side, stride)
        for top, left, bottom, right in boxes:
            assert (bottom - top, right - left) == (min(side, size[0]), min(side, size[1]))
            seen[top:bottom, left:right] += 1
        assert seen.min() >= 1
        assert len(set(boxes)) == len(boxes)


def test_nearest_repeats_each_place():
    look = looking(Inference(), Sizing(resize="square"))
    made = heads(look, "nearest")
    found = predicted(made, 0, list(look.views(shapes(1, 0).image(0))), (40, 40))
    blocks = found.reshape(5, 8, 5, 8)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": 32}, "inference=whole has no window"),
        ({"inference": "slide", "window": 8, "stride": 9}, "leaves gaps"),
        ({"scales": (0.0,)}, "above 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, said: str):
    with pytest.raises(ValueError, match=said):
        Inference(**settings)
