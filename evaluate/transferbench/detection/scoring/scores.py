"""The scores of a detector's findings, by the precision that its data set is reported in."""

from transferbench.data import LabeledImages
from transferbench.detection.scoring import coco_precision, voc_precision
from transferbench.detection.scoring.results import Results
from transferbench.records import Score


def score_results(
    results: Results, test: LabeledImages, with_masks: bool
) -> tuple[list[Score], dict[str, dict[str, float]]]:
    """Scores such as `box_ap50` and `mask_ap`, and for boxes and masks the precision of each class; percent."""
    names = test.info.classes
    if test.boxes.scoring == "coco":
        kinds: list[coco_precision.Kind] = ["box", "mask"] if with_masks else ["box"]
        parts = {kind: coco_precision.precision(results, test.boxes, names, kind) for kind in kinds}
    else:
        parts = {"box": voc_precision.precision(results, test.boxes, names)}
    scores = [
        Score(metric=f"{kind}_{name}", value=value, n=len(test), split=test.split)
        for kind, part in parts.items()
        for name, value in part.values.items()
    ]
    return scores, {kind: part.classes for kind, part in parts.items()}
