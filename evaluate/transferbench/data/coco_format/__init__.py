"""COCO's annotation files: read whole, and checked entry by entry before anything is made of them."""

from transferbench.data.coco_format.tables import CocoFile, read

__all__ = ["CocoFile", "read"]
