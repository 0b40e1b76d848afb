"""Segmentation from a frozen backbone: what its tasks are built from."""
