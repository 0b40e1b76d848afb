"""What a detector takes and predicts: images as it sees them, objects, boxes, masks, and which box is whose."""
