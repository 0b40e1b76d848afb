"""A linear classifier on a backbone, frozen or tuned: how it is trained, one by one or many at once."""
