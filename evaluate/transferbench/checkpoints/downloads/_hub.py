"""Files of one repository of the Hugging Face hub, through its own client, in its own cache."""

from collections.abc import Iterable
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

from transferbench.checkpoints.downloads import unreachable
from transferbench.errors import UserError

INDEX = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")
"""What is taken, best first."""
BESIDE = ("config.json", "preprocessor_config.json")
"""What is read beside the weights."""
FAILURES = (OSError, errors.HTTPError)  # pyright: ignore[reportPrivateImportUsage]


def parted(name: str) -> tuple[str, str | None]:
    """`ORG/NAME@REVISION` as repository and revision."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def listed(repository: str, revision: str | None) -> list[str]:
    """The names of a repository's files; without a network, of those that an earlier download left here.

    Raises:
        UserError: when there is no such repository or revision, it is gated, or nothing of it can be had.
    """
    try:
        return huggingface_hub.list_repo_files(repository, revision=revision)
    except (*FAILURES, errors.HFValidationError) as error:
        told = _told(repository, revision, error)
        kept = [] if told else [name for name in (*WEIGHTS, *BESIDE) if _is_kept(repository, name, revision)]
        if not kept:
            raise told or _by_hand(repository, error) from None
        return kept


def fetched(repository: str, revision: str | None, names: Iterable[str]) -> list[Path]:
    """Those files on this machine, in one folder.

    Raises:
        UserError: as `listed`.
    """
    try:
        return [Path(huggingface_hub.hf_hub_download(repository, name, revision=revision)) for name in names]
    except FAILURES as error:
        raise _told(repository, revision, error) or _by_hand(repository, error) from None


def source(repository: str, path: Path) -> str:
    """Repository, commit and file, as a record keeps them; the commit is the folder's name in the client's cache."""
    return f"{repository}@{path.parent.name}/{path.name}"


def chosen(repository: str, files: Iterable[str]) -> str:
    """The file with the weights.

    Raises:
        UserError: when there is none, with what there is.
    """
    there = sorted(files)
    best = next((name for name in WEIGHTS if name in there), None)
    if best is None:
        raise UserError(
            f"hf:{repository} has none of {', '.join(WEIGHTS)}; it has {', '.join(there[:12]) or 'no files'}. "
            f"Download the file you want by hand from {_page(repository)} and give its path."
        )
    return best


def _is_kept(repository: str, name: str, revision: str | None) -> bool:
    return isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=revision), str)


def _page(repository: str) -> str:
    return f"{huggingface_hub.constants.ENDPOINT}/{repository}"


def _by_hand(repository: str, error: Exception) -> UserError:
    return unreachable(f"hf:{repository}", _page(repository), error)


def _told(repository: str, revision: str | None, error: Exception) -> UserError | None:
    """What the hub answered, in words; None when it did not answer."""
    where = _page(repository)
    match error:
        case errors.GatedRepoError():
            return UserError(
                f"hf:{repository} is gated. Ask for access at {where}, then `hf auth login`; or download it by hand."
            )
        case errors.RevisionNotFoundError():
            return UserError(f"hf:{repository} has no revision '{revision}'. See {where}.")
        case errors.RepositoryNotFoundError():
            return UserError(
                f"There is no repository {repository} at {where}, or it is private: then `hf auth login` first."
            )
        case errors.HFValidationError():
            return UserError(f"hf:{repository} is not a repository name; expected hf:ORG/NAME or hf:ORG/NAME@REVISION.")
        case errors.LocalEntryNotFoundError():
            return None
        case errors.EntryNotFoundError():
            return UserError(f"hf:{repository} does not have the file: {str(error).splitlines()[0]}. See {where}.")
        case errors.HfHubHTTPError():
            return UserError(f"hf:{repository} was refused: {str(error).splitlines()[0]}. See {where}.")
    return None
