"""A study: trained through sessions, found again, told in tables and a picture."""

import csv
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from decorssl import runlog, session, states, study, study_figures, study_results
from decorssl.collapse import spectrum
from decorssl.study import Study
from decorssl.study_results import StudyResult
from transferbench import data as data_sets
from transferbench import settings
from transferbench.data import LabeledImages
from transferbench.errors import UserError

HERE = session.RunOptions("cpu", 0, save_seconds=1000.0)
SMALL = ["limit=64", "epochs=3", "batch_size=16", "projector.output=16", "projector.hidden=16", "preprocess.crop=8"]
SMALL += ["backbone.arguments.width=0.125"]


@pytest.fixture(scope="module", autouse=True)
def few_test_images() -> Iterator[None]:
    def open_split(data: str, split: str, root: Path) -> LabeledImages:
        return data_sets.open_split(data, split, root).subset(np.arange(60), "the first 60")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "open_split", open_split)
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_figures, "HAS_MATPLOTLIB", False)


@pytest.fixture(scope="module")
def two() -> Study:
    """The study of collapse with its first variant and INTL alone."""
    whole = study.read("collapse")
    return whole.model_copy(update={"variants": {name: whole.variants[name] for name in ("plain", "intl")}})


@pytest.fixture(scope="module")
def done(two: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder, said = tmp_path_factory.mktemp("study"), []
    assert not study.run(two, 1, SMALL, folder, HERE, said.append)
    return folder, said


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_every_variant_of_every_study_is_a_recipe_that_fits() -> None:
    for name in study.names():
        found = study.read(name)
        for variant in found.variants:
            recipe = found.recipe(variant, 1, ["epochs=2"])
            assert (recipe.name, recipe.seed, recipe.epochs) == (variant, 1, 2)
            assert recipe.projector.output % found.groups == 0


@pytest.mark.slow
def test_the_tables_hold_the_measures_of_the_runs(done: tuple[Path, list[str]]) -> None:
    folder, _ = done
    found = rows(folder / "runs.csv")
    assert [row["method"] for row in found] == ["random init", "plain", "INTL (samples)"]
    for row, name in zip(found[1:], ("plain", "intl"), strict=True):
        last = json.loads((folder / f"{name}-seed0" / runlog.SPECTRA).read_text().splitlines()[-1])
        assert last["step"] == 12
        for column, key in (("stable_rank_share", "stable_share"), ("mean_cosine", "mean_cosine"), ("std", "std")):
            assert float(row[column]) == pytest.approx(last["embedding"][key], rel=1e-4)
        assert float(row["backbone_effective_rank"]) == pytest.approx(last["backbone"]["effective_rank"], rel=1e-4)
        assert 0 <= float(row["knn"]) <= 100
    table = rows(folder / "table.csv")
    assert [row["seeds"] for row in table] == ["1"] * 3
    assert table[1]["stable_rank_share"] == found[1]["stable_rank_share"]
    assert table[1]["claim"] == "complete"


@pytest.mark.usefixtures("undrawn")
def test_finished_runs_are_found_again(two: Study, done: tuple[Path, list[str]]) -> None:
    folder, _ = done
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob(states.PATTERN)}
    before = (folder / "table.csv").read_text()
    assert not study.run(two, 1, SMALL, folder, HERE, lambda message: None)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob(states.PATTERN)} == kept
    assert (folder / "table.csv").read_text() == before


def test_the_picture_is_drawn(done: tuple[Path, list[str]]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install 'transferbench[plots]'")
    folder, said = done
    assert (folder / "spectra.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "spectra.pdf").read_bytes().startswith(b"%PDF")
    assert f"wrote {folder / 'spectra.png'}" in said[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_stopped_study_goes_on(
    two: Study, done: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_run, calls = session.run, []

    def stopped(*arguments: object) -> int:
        calls.append(arguments)
        return signal.SIGTERM if len(calls) > 1 else true_run(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(session, "run", stopped)
    said: list[str] = []
    assert study.run(two, 1, SMALL, tmp_path, HERE, said.append) == signal.SIGTERM
    assert "Run the same command to continue" in said[-1]
    assert not (tmp_path / "table.csv").exists()
    monkeypatch.setattr(session, "run", true_run)
    assert not study.run(two, 1, SMALL, tmp_path, HERE, said.append)
    assert (tmp_path / "runs.csv").read_text() == (done[0] / "runs.csv").read_text()


def test_settings_are_checked_before_the_first_run(two: Study, tmp_path: Path) -> None:
    last = {**two.variants, "zca": study.read("collapse").variants["zca"]}
    with pytest.raises(UserError, match="cannot be split evenly"):
        study.run(two.model_copy(update={"variants": last}), 1, SMALL, tmp_path, HERE, lambda message: None)
    with pytest.raises(UserError, match="Did you mean 'epochs'"):
        study.run(two, 1, ["epoch=1"], tmp_path, HERE, lambda message: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_loss_is_not_finite_is_a_finding(two: Study, tmp_path: Path) -> None:
    one = two.model_copy(update={"variants": {"intl": two.variants["intl"]}})
    wild = [*SMALL, "optim.lr=1e30", "optim.warmup_epochs=0"]
    assert not study.run(one, 1, wild, tmp_path, HERE, lambda message: None)
    found = {row["method"]: row["seen"] for row in rows(tmp_path / "runs.csv")}
    assert found["INTL (samples)"] == "not finite"


def finding(label: str, claim: str | None, seed: int, scale: float) -> StudyResult:
    features = np.random.default_rng(seed).normal(size=(100, 8)) * [1.0, *[scale] * 7] @ rotation()
    measured = spectrum(features.astype(np.float32))
    return StudyResult(label, claim, seed, measured, measured, 0.1, 0.2, 0.3, 50.0 + seed)  # pyright: ignore[reportArgumentType]


def rotation() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(9).normal(size=(8, 8)))[0]


def test_means_deviations_and_missed_claims_over_seeds() -> None:
    flat = [finding("flat", "none", seed, 1.0) for seed in (0, 1, 2)]
    thin = [finding("thin", "none", seed, scale) for seed, scale in ((0, 1e-4), (1, 1.0), (2, 1e-4))]
    (row,) = [
        row for row in csv.DictReader(study_results.table([*thin, *flat]).splitlines()) if row["method"] == "flat"
    ]
    assert (float(row["knn"]), float(row["knn_std"])) == (51, 1)
    assert (row["seen"], row["seeds"]) == ("none", "3")
    assert study_results.misses(flat) == ["All 1 claims are seen, in every seed."]
    (missed,) = study_results.misses([*thin, *flat])
    assert missed.startswith("Not as claimed: thin (none was claimed, seen: dimensional 2/3, none 1/3)")
    assert "51.0 ± 1.0" in study_results.markdown(flat, "About.")


def test_a_spectrum_is_drawn_as_shares_of_the_largest_down_to_the_floor() -> None:
    healthy, thin = finding("a", "none", 0, 0.1).embedding, replace(finding("b", "none", 0, 1.0).embedding)
    ranks, shares = study_figures._line([healthy, thin])
    assert ranks.tolist() == list(range(1, 9))
    expected = [
        np.sqrt(a / healthy.eigenvalues[0] * b / thin.eigenvalues[0])
        for a, b in zip(healthy.eigenvalues, thin.eigenvalues, strict=True)
    ]
    np.testing.assert_allclose(shares, expected)
    none = spectrum(np.ones((10, 3), np.float32))
    assert study_figures._line([none])[1].tolist() == pytest.approx([1e-12] * 3)


def test_a_misspelled_variant_setting_is_refused() -> None:
    values = settings.from_file(study.FOLDER / "collapse.yaml")
    values["variants"]["plain"]["claims"] = "none"
    with pytest.raises(UserError, match=r"variants\.plain\.claims: no such setting"):
        settings.read(Study, values)
