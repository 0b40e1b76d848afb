"""Detection and instance segmentation with Detectron2's protocol: one file for each step of a detector."""
