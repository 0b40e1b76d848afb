"""One file from one address, into torch's own folder of checkpoints, where it is found again."""

import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse

from torch import hub

from transferbench.checkpoints.downloads import unreachable
from transferbench.errors import UserError

HASHED = re.compile(r"-([a-f0-9]{8,})\.")
"""torch's convention: the first digits of a file's sha256 end its name."""


def fetched(url: str) -> Path:
    """The file at `url`, its hash checked where its name says it.

    Raises:
        UserError: when there is no network, no such file, or other bytes than the name promises.
    """
    path = Path(hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = HASHED.search(path.name)
    try:
        hub.download_url_to_file(url, str(path), mark and mark[1], progress=False)
    except HTTPError as error:
        raise UserError(f"{url} answered {error.code} ({error.reason}): the file is not there any more.") from None
    except OSError as error:
        raise unreachable(path.name, url, error) from None
    except RuntimeError as error:
        raise UserError(f"{url} arrived damaged: {error}. Try again.") from None
    return path
