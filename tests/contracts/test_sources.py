"""Every file in data/sources keeps the contract of a source; a new one is found by itself."""

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from transferbench.data import SOURCES, open_split
from transferbench.errors import UserError

EMBEDDED = {
    "digit_scenes": "2f8f7e3474e14868bc6339cf7acf77ef2e276c74159306e9d3eefb0e45b6432f",
    "digit_scenes_maps": "8f944f322611b2fde8d0ff76b9f2ea96629e4eddbc677a64f6c8b71cf7529492",
    "digits": "34038cba3a17b55de4a9c3e60ea1dc67f84d493c3a8a90e5096f4e78a2be3da6",
}
"""The fingerprints of their test splits; the kept records of digits hold this one."""


@pytest.mark.parametrize("name", SOURCES.names())
def test_a_source_offers_help_and_open_split(name: str) -> None:
    source = SOURCES.load(name)
    assert isinstance(source.HELP, str)
    assert len(source.HELP.splitlines()) == 1
    assert SOURCES.summary(name)
    parameters = inspect.signature(source.open_split, eval_str=True)
    assert list(parameters.parameters) == ["where", "split"]
    assert parameters.return_annotation.__name__ == "LabeledImages"


@pytest.mark.parametrize("name", SOURCES.names())
def test_an_unknown_split_is_a_user_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Known:"):
        SOURCES.load(name).open_split(tmp_path, "no-such-split")


@pytest.mark.parametrize("name", sorted(set(SOURCES.names()) - set(EMBEDDED)))
def test_absent_data_is_a_user_error_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)(Expected|evaluate download|pip install).*"):
        SOURCES.load(name).open_split(tmp_path / "absent", "train")


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_source_gives_two_disjoint_splits(name: str, tmp_path: Path) -> None:
    train, test = (open_split(name, split, tmp_path) for split in ("train", "test"))
    assert train.info == test.info
    assert train.info.test_split == "test"
    assert train.fingerprint != test.fingerprint
    assert len(set(train.names)) == len(train)
    contents = [{images.image(i).tobytes() for i in range(len(images))} for images in (train, test)]
    assert not contents[0] & contents[1]
    for images in (train, test):
        assert len(images.names) == len(images)
        shown = {-1} if images.label_maps is not None else set(range(len(images.info.classes)))
        assert set(images.labels.tolist()) == shown
        assert images.image(0).mode == "RGB"
        assert images.image(0).size == (images.info.image_size,) * 2
        assert pickle.loads(pickle.dumps(images)).image(3).tobytes() == images.image(3).tobytes()


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_fingerprint_is_the_same_on_every_machine(name: str, tmp_path: Path) -> None:
    assert open_split(name, "test", tmp_path).fingerprint == EMBEDDED[name]


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from transferbench.data import open_split\n"
        "for name in sys.argv[2:]: print(open_split(name, 'test', Path(sys.argv[1])).fingerprint)"
    )
    line = [sys.executable, "-c", code, str(tmp_path), *EMBEDDED]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == list(EMBEDDED.values())
