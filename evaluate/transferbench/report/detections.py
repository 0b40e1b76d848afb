"""Test images with what the detectors trained on a checkpoint found in them."""

import io

from PIL import Image

from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import MissingError, Panel, Pictures
from transferbench.report.library import Library
from transferbench.report.subject import Subject, slug

TITLE = "Detections"
QUALITY = 80
SCORES = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


def panel(subject: Subject, library: Library) -> Panel:
    """The pictures of each detector, as its run drew them."""
    if not library.with_images:
        return Panel(TITLE, (), (MissingError("Images were left out: --no-images."),), is_wide=True)
    figures: list[Pictures] = []
    missing: list[MissingError] = []
    detectors = [each for each in subject.records if each.task == "detect"]
    for record in detectors:
        try:
            figures.append(_pictures(subject, record, library))
        except MissingError as reason:
            missing.append(reason)
    if not detectors:
        missing.append(MissingError("No detector was trained on it.", artifacts.with_task(subject.records, "detect")))
    return Panel(TITLE, tuple(figures), tuple(missing), is_wide=True)


def _pictures(subject: Subject, record: Record, library: Library) -> Pictures:
    content = webp(artifacts.pictures(record, library.folder(record)))
    library.spend(len(content), subject.row.name, record.dataset)
    runs = f", seed {record.seed}" if record.seed else ""
    scores = [score for name in SCORES if (score := record.score(name))]
    values = ", ".join(f"{score.metric.replace('_', ' ').replace('ap', 'AP')} {score.value:.2f}" for score in scores)
    return Pictures(
        f"{subject.key}-detections-{slug(record.dataset)}-{slug(record.label)}-{record.seed}",
        f"{record.dataset}: {record.label}{runs}",
        f"{subject.row.name}. Evenly spaced test images with their detections. {values[:1].upper()}{values[1:]}.",
        "Test images with boxes, classes and scores of the detections in them",
        content,
    )


def webp(image: Image.Image) -> bytes:
    """A sheet of pictures as the page holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()
