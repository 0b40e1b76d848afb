"""Repositories of the Hugging Face hub: `hf:facebook/dinov2-small`, or `hf:ORG/NAME@REVISION`."""

from transferbench.checkpoints import containers
from transferbench.checkpoints.downloads import Located, _hub


def find(name: str) -> Located:
    """The repository's weights, whole or in shards, with the files that say what weights do not.

    Raises:
        UserError: when there are none, or the download fails.
    """
    repository, revision = _hub.parted(name)
    files = _hub.listed(repository, revision)
    best = _hub.chosen(repository, files)
    (path,) = _hub.fetched(repository, revision, [best])
    if best == _hub.INDEX:
        _hub.fetched(repository, revision, containers.named(path))
    _hub.fetched(repository, revision, [beside for beside in _hub.BESIDE if beside in files])
    return Located(path, repository.rpartition("/")[2], _hub.source(repository, path))
