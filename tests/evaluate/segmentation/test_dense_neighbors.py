"""Votes of neighboring patches against literal loops in float64, and the parts that they are made of."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from transferbench.errors import UserError
from transferbench.neighbors import Engine, Neighbors
from transferbench.segmentation.dense_neighbors import (
    Coding,
    Memory,
    attended,
    commonest,
    counted,
    laid_out,
    patched,
    rarest,
)
from transferbench.segmentation.feature_scale import Moments, Scale
from transferbench.segmentation.matching import confused, counts_of, matched
from transferbench.segmentation.patch_predictions import Law
from transferbench.segmentation.scoring import pixel_counts

CODES = 5


def drawn(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, CODES, (n, *shape)).astype(np.uint8)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_the_commonest_is_the_mode_and_of_equally_common_ones_the_least(k: int):
    found = drawn(30, k, 6)
    wanted = np.zeros((30, 6), np.uint8)
    for q in range(30):
        for p in range(6):
            votes = Counter(found[q, :, p].tolist())
            most = max(votes.values())
            wanted[q, p] = min(number for number, count in votes.items() if count == most)
    np.testing.assert_array_equal(commonest(found), wanted)
    np.testing.assert_array_equal(wanted, torch.from_numpy(found).mode(dim=1).values.numpy())


def test_attention_is_the_softmax_of_cosines_over_neighbors_shares():
    rng = np.random.default_rng(0)
    cosines, pixels = rng.uniform(-1, 1, (9, 4)), drawn(36, 16)
    counts = counted(pixels, CODES).reshape(9, 4, CODES)
    wanted = np.zeros((9, CODES))
    for q in range(9):
        exponentials = [np.exp(cosines[q, i] / 0.1) for i in range(4)]
        for i in range(4):
            for number in pixels[4 * q + i]:
                wanted[q, number] += exponentials[i] / sum(exponentials) / 16
    np.testing.assert_allclose(attended(cosines, counts, 0.1), wanted, rtol=1e-5, atol=1e-7)


def test_patches_are_cut_row_by_row_and_laid_out_again():
    codes = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    pixels = patched(codes, 4, 3)
    assert pixels.shape == (12, 8)
    assert pixels[4].tolist() == [*codes[2, 4:8], *codes[3, 4:8]]
    np.testing.assert_array_equal(laid_out(pixels, 4, 3, 8), codes)
    with pytest.raises(UserError, match=r"5x3 places .* 8x12 pixels"):
        patched(codes, 5, 3)


@pytest.mark.parametrize(("void", "numbers"), [(0, [0, 1, 2, 3]), (3, [3, 0, 1, 2]), (None, [0, 0, 1, 2])])
def test_pixels_without_a_class_have_the_number_that_their_files_sort_them_by(void: int | None, numbers: list[int]):
    coding, labels = Coding(3, void), np.array([[-1, 0, 1, 2]], np.int16)
    codes = coding.codes(labels)
    assert codes.tolist() == [numbers]
    assert coding.size == (3 if void is None else 4)
    assert coding.labels(codes.astype(np.int64)).tolist() == [[0 if void is None else 3, 0, 1, 2]]


def test_patches_of_rare_classes_are_drawn_first():
    """open-hummingbird-eval hbird/hbird_eval.py:423-437, whose order of numbers is ours."""
    pixels = np.minimum(drawn(40, 16), drawn(40, 1))
    scores = np.zeros(40)
    frequency = {c: sum(c in set(patch.tolist()) for patch in pixels) for c in range(CODES)}
    for i, uniform in enumerate(np.random.default_rng(7).random(40)):
        scores[i] = uniform * sum(frequency[c] for c in set(pixels[i].tolist()))
    found = rarest(counted(pixels, CODES), 11, np.random.default_rng(7))
    assert found.tolist() == sorted(np.argsort(scores)[:11].tolist())
    assert rarest(counted(pixels, CODES), 40, np.random.default_rng(7)).tolist() == list(range(40))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_every_engine_gives_the_same_neighbors_and_so_the_same_votes(metric):
    rng = np.random.default_rng(1)
    features = np.repeat(rng.standard_normal((300, 16)).astype(np.float32), 2, 0)
    queries = rng.standard_normal((50, 16)).astype(np.float32)
    memory = Memory(features, drawn(600, 4))
    engines: tuple[Engine, ...] = ("torch", "faiss", "torch_bf16")
    near = [memory.near(queries, 5, metric, engine=engine) for engine in engines]
    exact, asked = features.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        distances = -(asked @ exact.T) / np.linalg.norm(exact, axis=1)
    else:
        distances = ((asked[:, None] - exact) ** 2).sum(2)
    wanted = np.lexsort((np.broadcast_to(np.arange(600), distances.shape), np.round(distances, 9)))[:, :5]
    for each in near:
        np.testing.assert_array_equal(each.indices, wanted)
    votes = [Law(Coding(CODES, None), None, "resolution").votes(memory, each, 3) for each in near]
    np.testing.assert_array_equal(votes[0], commonest(memory.labels[wanted[:, :3]]))
    np.testing.assert_array_equal(votes[0], votes[1])


def test_votes_do_not_depend_on_how_many_are_looked_up_together(monkeypatch: pytest.MonkeyPatch):
    from transferbench.segmentation import dense_neighbors, patch_predictions

    rng = np.random.default_rng(2)
    memory = Memory(np.zeros((50, 1), np.float32), drawn(50, 9))
    near = Neighbors(np.zeros((20, 4)), rng.integers(0, 50, (20, 4)))
    law = Law(Coding(CODES, None), None, "resolution")
    whole = law.votes(memory, near, 4)
    monkeypatch.setattr(patch_predictions, "VOTED", 4 * 9 * 3)
    monkeypatch.setattr(dense_neighbors, "TOGETHER", 4 * 9 * 2)
    np.testing.assert_array_equal(law.votes(memory, near, 4), whole)


def test_moments_in_parts_scale_as_scikit_learn_does():
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((90, 6)) * [1, 5, 0.1, 1, 100, 1] + [0, 50, 1, 0, -3, 7]).astype(np.float32)
    rows[:, 3] = 2.5
    seen = Moments.of(rows[:0])
    for part in np.split(rows, [7, 8, 60]):
        seen.add(Moments.of(part))
    wanted = StandardScaler().fit(rows.astype(np.float64)).transform(rows.astype(np.float64))
    scaled = rows.copy()
    Scale.over(seen).apply(scaled)
    np.testing.assert_allclose(scaled, wanted, rtol=1e-5, atol=1e-6)
    assert not scaled[:, 3].any()


def test_predicted_classes_are_matched_with_the_true_ones_they_overlap_most():
    rng = np.random.default_rng(4)
    truth = rng.integers(-1, 4, (3, 10, 12)).astype(np.int16)
    renamed = np.array([2, 0, 3, 1])
    predicted = np.where(rng.random(truth.shape) < 0.7, renamed[np.maximum(truth, 0)], 0).astype(np.int64)
    pairs = [confused(a, b, 4) for a, b in zip(truth, predicted, strict=True)]
    stands_for = matched(pairs, 4)
    assert stands_for[renamed].tolist() == [0, 1, 2, 3]
    for plain in (np.arange(4), stands_for):
        found = counts_of(pairs, plain)
        for i in range(3):
            wanted = pixel_counts(truth[i], plain[predicted[i]], 4)
            np.testing.assert_array_equal(found.intersection[i], wanted.intersection[0])
            np.testing.assert_array_equal(found.labeled[i], wanted.labeled[0])
            np.testing.assert_array_equal(found.predicted[i], wanted.predicted[0])


def test_shares_are_resized_bilinearly_from_the_centers_of_patches():
    rng = np.random.default_rng(5)
    shares = rng.random((2 * 3, 3)).astype(np.float32)
    wanted = np.zeros((8, 9), np.int64)
    for y in range(8):
        for x in range(9):
            totals = np.zeros(3)
            high, wide = max((y + 0.5) * 2 / 8 - 0.5, 0), max((x + 0.5) * 3 / 9 - 0.5, 0)
            top, left = int(high), int(wide)
            for row, down in ((top, 1 - high + top), (min(top + 1, 1), high - top)):
                for column, right in ((left, 1 - wide + left), (min(left + 1, 2), wide - left)):
                    totals += down * right * shares[3 * row + column].astype(np.float64)
            wanted[y, x] = totals.argmax()
    law = Law(Coding(3, None), 0.02, "original")
    np.testing.assert_array_equal(law.label_map(shares, (2, 3), (16, 24), (8, 9)), wanted)
