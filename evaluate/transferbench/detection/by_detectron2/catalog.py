# pyright: reportMissingImports=false
"""Our annotated splits in Detectron2's catalog, their images opened through its own path manager."""

import io
from typing import Any

from transferbench.data import LabeledImages
from transferbench.detection.targets import rle
from transferbench.detection.targets.views import decoded, is_trained_on

PREFIX = "transferbench://"
_SPLITS: dict[str, LabeledImages] = {}
"""By the name each is registered under."""


def register(images: LabeledImages, with_masks: bool) -> str:
    """The name under which Detectron2 finds the split from now on. A split registered before is replaced."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    kind = "masks" if with_masks else "boxes"
    name = f"{PREFIX}{images.info.name}/{images.split}/{images.fingerprint[:16]}/{kind}"
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: entries(images, name, with_masks))
    MetadataCatalog.get(name).set(thing_classes=list(images.info.classes))
    _SPLITS[name] = images
    _open_by_prefix()
    return name


def entries(images: LabeledImages, name: str, with_masks: bool) -> list[dict[str, Any]]:
    """The split as Detectron2's list of dictionaries; an image's id is its place in the split."""
    from detectron2.structures import BoxMode

    annotated = images.boxes
    return [
        {
            "file_name": f"{name}/{i}",
            "image_id": i,
            "height": height,
            "width": width,
            "annotations": [
                {
                    "bbox": list(each.box),
                    "bbox_mode": BoxMode.XYWH_ABS,
                    "category_id": each.label,
                    "iscrowd": int(each.crowd),
                    **({"segmentation": _mask(each.mask, (height, width))} if with_masks else {}),
                }
                for each in objects
                if each.crowd or is_trained_on(each, with_masks)
            ],
        }
        for i, (objects, (height, width)) in enumerate(zip(annotated.objects, annotated.sizes, strict=True))
    ]


def _mask(mask: Any, size: tuple[int, int]) -> Any:
    return mask if isinstance(mask, list | None) else rle.compact(mask, size)


def _open_by_prefix() -> None:
    from detectron2.utils.file_io import PathHandler, PathManager

    class Images(PathHandler):
        """An image of a registered split as an uncompressed file."""

        def _get_supported_prefixes(self) -> list[str]:
            return [PREFIX]

        def _open(self, path: str, mode: str = "r", buffering: int = -1, **more: Any) -> io.BytesIO:
            name, _, index = path.rpartition("/")
            buffer = io.BytesIO()
            decoded(_SPLITS[name], int(index)).save(buffer, "PPM")
            buffer.seek(0)
            return buffer

    PathManager.register_handler(Images(), allow_override=True)
