"""A class for each pixel from a frozen backbone: maps of features, images with their label maps, and inference."""
