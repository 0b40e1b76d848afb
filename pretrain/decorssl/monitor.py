"""Watching a backbone while it is trained."""


