"""What a trained detector finds, and how right it is by COCO's and by PASCAL VOC's precision."""
