"""What heads learn from regions: their classes, boxes and masks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from transferbench.detection.model.heads import Maps, RegionHeads
from transferbench.detection.model.losses import smooth_l1
from transferbench.detection.model.regions import Regions
from transferbench.detection.recipe.keys import BoxHeadKeys
from transferbench.detection.targets import masks
from transferbench.detection.targets.boxes import encode
from transferbench.detection.targets.samples import Objects


def losses(heads: RegionHeads, maps: Maps, regions: Sequence[Regions], objects: Sequence[Objects]) -> dict[str, Tensor]:
    """`loss_cls`, `loss_box_reg` and, with masks, `loss_mask`.

    Where the mask's features are the boxes', they are the objects' rows of them: a second pass would show the fifth
    stage's norms another batch (docs/protocols.md#torchvision).
    """
    vectors, shared = heads.look(maps, [each.boxes for each in regions])
    scores, offsets = heads.scores(vectors), heads.offsets(vectors)
    labels = torch.cat([each.labels for each in regions])
    terms = {
        "loss_cls": F.cross_entropy(scores, labels) if len(labels) else scores.sum() * 0,
        "loss_box_reg": _box_loss(heads.keys.ROI_BOX_HEAD, offsets, labels, regions, objects),
    }
    if heads.mask is not None:
        chosen = _objects_only(regions, heads.keys.ROI_HEADS.NUM_CLASSES)
        own = torch.cat([each.labels for each in chosen])
        is_object = labels < heads.keys.ROI_HEADS.NUM_CLASSES
        features = (
            shared[is_object] if shared is not None else heads.mask_features(maps, [each.boxes for each in chosen])
        )
        terms["loss_mask"] = _mask_loss(heads.mask(features, own), chosen, objects)
    return terms


def _objects_only(regions: Sequence[Regions], classes: int) -> list[Regions]:
    pairs = [(each, each.labels < classes) for each in regions]
    return [Regions(each.boxes[kept], each.labels[kept], each.objects[kept]) for each, kept in pairs]


def _box_loss(
    keys: BoxHeadKeys,
    offsets: Float[Tensor, "r coded"],
    labels: Int64[Tensor, " r"],
    regions: Sequence[Regions],
    objects: Sequence[Objects],
) -> Float[Tensor, ""]:
    """Of objects only, each by the offsets of its own class; divided by the number of all regions."""
    starts = torch.cat([each.boxes for each in regions])
    ends = [
        truth.boxes[each.objects] if len(truth.boxes) else each.boxes
        for each, truth in zip(regions, objects, strict=True)
    ]
    per_class = offsets.unflatten(1, (-1, 4))
    is_object = labels < per_class.shape[1]
    own = per_class[is_object, labels[is_object]]
    wanted = encode(starts[is_object], torch.cat(ends)[is_object], keys.BBOX_REG_WEIGHTS)
    return smooth_l1(own, wanted, keys.SMOOTH_L1_BETA) * (keys.BBOX_REG_LOSS_WEIGHT / max(1, len(labels)))


def _mask_loss(
    logits: Float[Tensor, "r s s"], chosen: Sequence[Regions], objects: Sequence[Objects]
) -> Float[Tensor, ""]:
    """The mean over all pixels of all objects' grids."""
    if not len(logits):
        return logits.sum() * 0
    pairs = zip(objects, chosen, strict=True)
    wanted = [masks.targets(truth, each.objects, each.boxes, logits.shape[-1]) for truth, each in pairs]
    return F.binary_cross_entropy_with_logits(logits, torch.cat(wanted).to(logits))
