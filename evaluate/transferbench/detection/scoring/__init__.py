"""What a trained detector finds, and its average precision as COCO and PASCAL VOC define it."""
