"""What a detector takes and has to say: images as it sees them, objects, boxes, masks, and which box is whose."""
