"""The report says what records and artifacts say, names what is missing or damaged, and lets nothing in as HTML."""

import html as entities
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded import a_record
from reported import CURVE, DETECTOR_CURVE, fill, npz, pictures, put, reported

from transferbench import sharing, tables
from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import Card, Origin
from transferbench.cli import main
from transferbench.data import open_split
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.features import extraction
from transferbench.features.spec import FeatureSpec
from transferbench.records import Record, Score, collection
from transferbench.report import Sources, build, neighbors
from transferbench.report.charts import Chart, Gallery, Matrix, Pictures
from transferbench.report.features_map import read_by
from transferbench.report.library import Library
from transferbench.report.ranks import correlation
from transferbench.report.subject import subjects

NASTY = "<script>alert(1)</script>"


class Table(HTMLParser):
    """The texts of the leaderboard's cells, line by line."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.feed(html.partition('id="board"')[2].partition("</table>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.lines.append([])
        if tag in ("td", "th"):
            self.lines[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.lines and self.lines[-1]:
            self.lines[-1][-1] = " ".join(f"{self.lines[-1][-1]} {data}".split())


def a_published_run() -> Record:
    """INTL's backbone for CIFAR-10 under the whitening papers' 5-NN, published as 90.03."""
    network = complete(Architecture(family="resnet", arguments={"depth": 18, "stem": "cifar"}))
    origin = Origin(method="intl", data="cifar10", epochs=1000, seed=0)
    card = Card(architecture=network, preprocess=Preprocess(), origin=origin)
    config = {"k": 5, "metric": "euclidean", "vote": "majority"}
    return a_record("INTL", 90.5, card=card, config=config, dataset="cifar10", label="5-NN")


def test_the_numbers_on_the_page_are_those_of_the_leaderboard(tmp_path: Path):
    fill(tmp_path)
    put(tmp_path, a_record("A", 44.5, seed=1))
    put(tmp_path, a_published_run())
    with collection.opened([tmp_path]) as there:
        good = there.records
    laid = tables.grid(tables.leaderboard(good), with_ranks=True)
    shown = Table(reported(tmp_path).html).lines
    assert shown[0] == [*laid.stub, *(f"{group} {name}".strip() for group, name in laid.heads)]
    assert shown[1:] == [
        [*line.stub, *(" ".join(filter(None, (each.text, each.marks, each.spread))) for each in line.entries)]
        for line in laid.lines
    ]
    assert {"60.25 ‡", "42.25 ± 3.18", "90.03 (+0.47, within)"} <= {cell for line in shown for cell in line}


def test_a_condition_chooses_what_the_page_shows(tmp_path: Path):
    html = reported(fill(tmp_path), tables.Choice(where=("candidate=A",))).html
    assert 'id="checkpoint-a"' in html
    assert 'id="checkpoint-b"' not in html
    with pytest.raises(UserError, match="No result to show"):
        reported(tmp_path, tables.Choice(where=("candidate=nobody",)))


def test_nothing_that_records_say_becomes_html(tmp_path: Path):
    origin = Origin(method=NASTY, recipe=NASTY, seed=0)
    card = Card(architecture=a_record().card.architecture, preprocess=Preprocess(), origin=origin)
    environment = {"command": ["evaluate", NASTY], "machine": {"cpu": NASTY}}
    nasty = a_record(NASTY, label=NASTY, dataset=NASTY, card=card, config={NASTY: NASTY}, environment=environment)
    put(tmp_path, nasty, predictions=npz(labels=np.zeros(3, int), predictions=np.ones(3, int)))
    put(tmp_path, a_record(NASTY, card=card, dataset=NASTY, task="linear", label=NASTY), curve=CURVE.encode())
    for name, rank in ((NASTY, 5.0), ("other", 7.0)):
        spectrum = a_record(name, rank, task="spectrum", label=NASTY, dataset=NASTY, metric="rankme", card=card)
        score = spectrum.scores[0].model_copy(update={"unit": ""})
        put(tmp_path, spectrum.model_copy(update={"scores": (score,)}), spectrum=npz(eigenvalues=np.ones(3)))
    put(tmp_path, a_record("other", label=NASTY, dataset=NASTY, card=card))
    (tmp_path / f"{NASTY.replace('/', '')}.json").write_text("{")
    made = reported(tmp_path)
    html = made.html
    assert any(name.startswith("rank-") for name in made.figures)
    assert html.count("<script") == 1
    assert "alert(1)" in html
    assert "&lt;script&gt;alert(1)" in html


def test_the_page_forbids_itself_to_fetch_anything(tmp_path: Path):
    html = reported(fill(tmp_path)).html
    assert "default-src 'none'; img-src data:" in html.replace("&#39;", "'")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert "url(" not in html


@pytest.mark.parametrize(
    ("task", "name", "panel"),
    [("spectrum", "spectrum", "spectrum"), ("linear", "curve", "accuracy"), ("knn", "predictions", None)],
)
def test_what_was_cut_short_is_named_and_left_out(tmp_path: Path, task: str, name: str, panel: str | None):
    path = fill(tmp_path) / "artifacts" / f"A.{task}.0" / name
    whole = reported(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    cut = reported(tmp_path)
    if panel:
        assert f"a-{panel}-digits" in whole.figures
        assert f"a-{panel}-digits" not in cut.figures
        assert f"artifacts/A.{task}.0/{name} was changed or truncated" in cut.html
    else:
        assert (
            "k-NN" in whole.figures["b-confusion-digits"].title or "linear" in whole.figures["b-confusion-digits"].title
        )
        assert "linear" in cut.figures["a-confusion-digits"].title
    assert "b-spectrum-digits" in cut.figures


def test_records_that_are_none_are_named(tmp_path: Path):
    fill(tmp_path)
    (tmp_path / "records" / "half.json").write_text('{"schema_version": 1')
    assert "half.json is not a record" in reported(tmp_path).html


def test_records_below_several_output_folders_find_their_artifacts(tmp_path: Path):
    fill(tmp_path / "one", ("A",))
    fill(tmp_path / "two", ("B",))
    made = reported(tmp_path)
    assert {"a-spectrum-digits", "b-spectrum-digits"} <= made.figures.keys()


def test_what_was_never_made_is_told_with_its_command(tmp_path: Path):
    put(tmp_path, a_record("A"))
    html = reported(tmp_path).html
    for command in (
        "evaluate linear A=CHECKPOINT",
        "evaluate spectrum A=CHECKPOINT",
        "evaluate spectrum CHECKPOINT...",
    ):
        assert command in html


def test_commands_name_no_file_of_a_control_no_digits_for_boxes_and_no_bare_folder(tmp_path: Path):
    control = a_record("random-init")
    report = control.load_report.model_copy(update={"format": "random-init"})
    put(tmp_path, control.model_copy(update={"load_report": report}))
    put(tmp_path, a_record("my (changed)", dataset="birds", limit=9))
    put(tmp_path, a_record("D", task="detect", metric="box_ap", dataset="coco"))
    told = entities.unescape(reported(tmp_path, tables.Choice(limited=True)).html)
    assert "random-init=" not in told
    for command in (
        "evaluate linear CHECKPOINT --data digits",
        "evaluate detect CHECKPOINT --data digit-scenes",
        "evaluate linear 'my (changed)=CHECKPOINT' --data PATH/birds --limit 9",
        "evaluate linear D=CHECKPOINT --data LABELED",
        "evaluate detect D=CHECKPOINT --data coco --again",
    ):
        assert command in told


def test_each_checkpoint_is_told_when_it_is_begun(tmp_path: Path):
    put(tmp_path, a_record("A"))
    put(tmp_path, a_record("B", 1.0))
    said: list[str] = []
    with collection.opened([tmp_path]) as there:
        build(there, tables.Choice(), Sources(tmp_path, tmp_path), said.append)
    assert said == ["1/2 A", "2/2 B"]


def test_results_stand_in_the_order_of_columns_and_seeds():
    runs = [a_record("A", 40.0 + seed, seed=seed) for seed in (2, 0, 1)]
    for percent in (10, 1):
        runs.append(a_record("A", task="semi", label=f"{percent} %", protocol_sha256=str(percent)[-1] * 64))
    (subject,) = subjects(tables.leaderboard(runs))
    found = [(record.label, record.card.origin.seed) for record in subject.records]
    assert found == [("k-NN", 0), ("k-NN", 1), ("k-NN", 2), ("1 %", 0), ("10 %", 0)]


def test_rows_of_one_name_have_sections_and_files_of_their_own(tmp_path: Path):
    for name in ("A", "a", "A 2", "board"):
        put(tmp_path, a_record(name), predictions=npz(labels=np.zeros(3, int), predictions=np.ones(3, int)))
    made = reported(tmp_path)
    keys = re.findall(r'<section class="checkpoint" id="checkpoint-([^"]+)"', made.html)
    assert sorted(keys) == ["a", "a-2", "a-3", "board"]
    assert {f"{key}-confusion-digits" for key in keys} == set(made.figures)
    assert len(re.findall(r'id="board"', made.html)) == 1


def test_rank_stands_against_accuracy(tmp_path: Path):
    made = reported(fill(tmp_path)).figures
    chart = made["rank-digits-rankme-k-nn"]
    assert isinstance(chart, Chart)
    candidates, control = chart.series
    points = dict(zip(candidates.labels, zip(candidates.xs, candidates.ys, strict=True), strict=True))
    assert points == {name: (3.0 * i + 2, 40 + 10.125 * i) for i, name in enumerate("ABCD")}
    assert (control.labels, control.xs) == (("random-init",), (14.0,))
    assert "over the 4 checkpoints: 1.00" in chart.caption
    other = made["rank-digits-effective-rank-linear"]
    assert isinstance(other, Chart)
    assert sorted(other.series[0].xs) == [1, 3, 5, 7]


def test_the_rank_correlation_is_that_of_ranks():
    assert correlation([(1.0, 1.0), (2.0, 8.0), (3.0, 27.0), (4.0, 640.0)]) == pytest.approx(1)
    assert correlation([(1.0, 4.0), (2.0, 3.0), (3.0, 2.0), (4.0, 1.0)]) == pytest.approx(-1)
    assert correlation([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]) is None
    assert correlation([(1.0, 1.0), (1.0, 2.0), (1.0, 3.0), (1.0, 4.0)]) is None


def test_the_confusion_matrix_counts_every_test_image(tmp_path: Path):
    labels, found = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 0])
    put(tmp_path, a_record("A"), predictions=npz(labels=labels, predictions=found))
    matrix = reported(tmp_path).figures["a-confusion-digits"]
    assert isinstance(matrix, Matrix)
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert matrix.confusions(9) == [("2", "0", 2), ("0", "1", 1)]
    assert matrix.shares()[2] == pytest.approx([2 / 3, 0, 1 / 3])


def cached_digits(out: Path, limit: int = 40) -> Record:
    """A k-NN record of a checkpoint whose features lie in `out/cache`: the class of each image, and a little noise."""
    from transferbench.data.subsets import limited
    from transferbench.run.dataset_cache import LIMIT_SEED

    splits = [limited(open_split("digits", split, out), limit, LIMIT_SEED) for split in ("train", "test")]
    record = a_record(
        "A", limit=limit, config={"k": 5, "metric": "cosine", "precision": "float32"},
        data_fingerprint={images.split: images.fingerprint for images in splits},
    )  # fmt: skip
    labels = splits[1].labels
    record = put(out, record, predictions=npz(labels=labels, predictions=labels))
    for images in splits:
        rows = np.eye(10)[images.labels] + np.random.default_rng(0).normal(0, 0.01, (len(images), 10))
        without = features_of(Library({}, out, out / "cache"), record)
        path = extraction.place(without, images, out / "cache", FeatureSpec())
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rows.astype(np.float32))
        extraction._seal(path, path, extraction._identity(without, images, FeatureSpec()))
    return record


def features_of(library: Any, record: Record) -> Any:
    from torch import nn

    from transferbench.checkpoints import Candidate

    return Candidate(record.candidate, nn.Identity(), record.card, record.digest, record.load_report)


def test_neighbors_and_the_map_come_from_cached_features(tmp_path: Path):
    cached_digits(tmp_path)
    made = reported(tmp_path, tables.Choice(limited=True))
    gallery, chart = made.figures["a-neighbors-digits"], made.figures["a-map-digits"]
    assert isinstance(gallery, Gallery)
    assert isinstance(chart, Chart)
    assert len(gallery.lines) == 12
    assert len({query.label for query, _ in gallery.lines}) == 10
    for query, near in gallery.lines:
        marks = [each.is_right for each in near]
        assert [each.label == query.label for each in near] == marks
        assert marks == [True] * 4 + [False]
    assert sum(len(series.xs) for series in chart.series) == 40
    assert made.html.count("data:image/webp;base64,") == 12 * 6


def test_without_features_data_or_images_the_page_says_so(tmp_path: Path):
    cached_digits(tmp_path)
    choice = tables.Choice(limited=True)
    shutil.rmtree(tmp_path / "cache")
    gone = reported(tmp_path, choice).html
    assert "images are not in" in gone
    assert "evaluate knn A=CHECKPOINT --data digits --limit 40 --again" in gone
    bare = reported(tmp_path, choice, with_images=False).html
    assert "--no-images" in bare
    put(tmp_path, a_record("B", limit=40, dataset="nowhere"))
    assert "The images of nowhere were not found." in reported(tmp_path, choice).html


def test_other_images_than_those_of_the_record_are_not_shown(tmp_path: Path):
    record = cached_digits(tmp_path)
    put(tmp_path, record.model_copy(update={"candidate": "B", "data_fingerprint": {"train": "x", "test": "y"}}))
    made = reported(tmp_path, tables.Choice(limited=True))
    assert "b-neighbors-digits" not in made.figures
    assert "is not the data that B was evaluated on" in made.html


def test_images_stop_where_the_page_would_grow_too_large(tmp_path: Path):
    cached_digits(tmp_path)
    with collection.opened([tmp_path]) as there:
        library = Library({each.record.record_sha256: tmp_path for each in there.stored}, tmp_path, tmp_path / "cache")
        board = tables.leaderboard(there.records, tables.Choice(limited=True))
    library.image_bytes = 100
    panel = neighbors.panel(subjects(board)[0], library)
    assert not panel.figures
    assert "reached its limit for images" in panel.missing[0].what


def test_what_a_detector_found_is_shown_as_it_was_drawn(tmp_path: Path):
    scores = [("box_ap", 41.25), ("box_ap50", 62.5), ("box_ap_small", 9.0), ("mask_ap", 33.75)]
    for name in ("A", "B"):
        found = a_record(name, task="detect", metric="box_ap", label="micro", dataset="coco")
        kept = tuple(Score(metric=metric, value=value, unit="%", n=8) for metric, value in scores)
        found = found.model_copy(update={"scores": kept})
        put(tmp_path, found, pictures=pictures(), curve=DETECTOR_CURVE.encode())
    cut = tmp_path / "artifacts" / "B.detect.0" / "pictures"
    cut.write_bytes(cut.read_bytes()[:-9])
    made = reported(tmp_path)
    shown = made.figures["a-detections-coco-micro-0"]
    assert isinstance(shown, Pictures)
    assert shown.caption.endswith("Box AP 41.25, box AP50 62.50, mask AP 33.75.")
    drawn, kept = (
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), float) for each in (pictures(), shown.content)
    )
    assert drawn.shape == kept.shape
    assert np.corrcoef(drawn.ravel(), kept.ravel())[0, 1] > 0.5
    assert "b-detections-coco-micro-0" not in made.figures
    assert "artifacts/B.detect.0/pictures was changed or truncated" in made.html
    assert made.html.count("data:image/webp;base64,") == 1
    curve = made.figures["a-detector-loss-coco"]
    assert isinstance(curve, Chart)
    assert (curve.series[0].xs, curve.series[0].ys) == ((1, 20), (1.75, 1.0))
    assert "data:image/webp;base64," not in reported(tmp_path, with_images=False).html


def test_an_archive_is_reported_as_its_records_are(tmp_path: Path):
    fill(tmp_path / "one", ("A",))
    fill(tmp_path / "two", ("B",))
    sharing.pack(tmp_path / "one.zip", [tmp_path / "one"], "all")
    made = reported(tmp_path / "two", also=[tmp_path / "one.zip"])
    assert {"a-spectrum-digits", "b-spectrum-digits"} <= made.figures.keys()


def test_chosen_images_are_even_over_the_classes():
    labels = np.repeat(np.arange(4), 30)
    found = neighbors.chosen(labels, 12)
    assert np.bincount(labels[found]).tolist() == [3, 3, 3, 3]
    assert neighbors.chosen(np.array([1, 0]), 12).tolist() == [1, 0]


def test_only_tasks_that_read_frozen_features_give_a_map():
    assert read_by(a_record(task="knn", config={"precision": "bfloat16"})) == FeatureSpec(precision="bfloat16")
    assert read_by(a_record(task="semi")) is None


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one a kind", "all"])
def test_figures_are_written_for_papers(every: bool, tmp_path: Path):
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install 'transferbench[plots]'")
    cached_digits(tmp_path)
    put(tmp_path, a_record("A", 3.0, task="spectrum", label="$\\x", limit=40), spectrum=npz(eigenvalues=np.ones(3)))
    put(tmp_path, a_record("A", task="detect", label="micro", limit=40), pictures=pictures())
    made = reported(tmp_path, tables.Choice(limited=True))
    kinds = {figure.kind: name for name, figure in made.figures.items()} | {"chart": "a-spectrum-digits"}
    if not every:
        few = {name: made.figures[name] for name in kinds.values()}
        gallery = few[kinds["gallery"]]
        assert isinstance(gallery, Gallery)
        made = replace(made, figures=few | {kinds["gallery"]: replace(gallery, lines=gallery.lines[:2])})
    written = list(made.write_figures(tmp_path / "figures"))
    assert kinds.keys() == {"chart", "matrix", "gallery", "pictures"}
    assert {path.name for path in written} == {f"{key}.{end}" for key in made.figures for end in ("png", "pdf")}
    starts = {path.suffix: path.read_bytes()[:4] for path in written}
    assert starts == {".png": b"\x89PNG", ".pdf": b"%PDF"}


def test_the_command_writes_the_page_and_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fill(tmp_path / "res", ("A",))
    (tmp_path / "res" / "half.json").write_text("{")
    out = tmp_path / "page.html"
    monkeypatch.setattr("sys.argv", ["evaluate", "report", str(tmp_path / "res"), "--out", str(out), "--no-images"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    told = capsys.readouterr()
    assert f"wrote {out}" in told.out
    assert "half.json is not a record" in told.err
    assert 'id="checkpoint-a"' in out.read_text()
