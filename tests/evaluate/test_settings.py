"""Settings: strict, frozen, and every misfit told at once."""

from pathlib import Path

import pydantic
import pytest
from pydantic import Field

from transferbench import settings
from transferbench.errors import UserError
from transferbench.settings import Settings, canonical_json, read, sha256


class Optim(Settings):
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)


class Example(Settings):
    epochs: int = Field(ge=1)
    optim: Optim = Optim()
    sizes: tuple[int, ...] = (1,)


def test_a_file_a_default_and_an_override_meet_in_this_order(tmp_path: Path):
    path = tmp_path / "example.yaml"
    path.write_text("epochs: 3\noptim:\n  lr: 0.5\n")
    found = read(Example, path, ["epochs=5", "sizes=[2, 3]"])
    assert found == Example(epochs=5, optim=Optim(lr=0.5, momentum=0.9), sizes=(2, 3))


def test_every_misfit_is_told_at_once_with_near_names(tmp_path: Path):
    path = tmp_path / "example.yaml"
    path.write_text("epochs: -3\nepoch: 4\noptim:\n  momentun: 0.5\n  lr: fast\n")
    with pytest.raises(UserError) as told:
        read(Example, path)
    lines = str(told.value).splitlines()
    assert lines[0] == f"4 invalid setting(s) in {path}:"
    text = "\n".join(sorted(lines[1:]))
    assert "epoch: no such setting. Did you mean 'epochs'?" in text
    assert "optim.momentun: no such setting. Did you mean 'momentum'?" in text
    assert "epochs: found -3; " in text
    assert "optim.lr: found 'fast'; " in text


@pytest.mark.parametrize("text", ["1e-4", "1.e-4", "0.0001"])
def test_a_number_may_be_written_as_people_write_it(text: str, tmp_path: Path):
    """PyYAML reads `1e-4` as text; the type of the field decides."""
    path = tmp_path / "example.yaml"
    path.write_text(f"epochs: 1\noptim:\n  lr: {text}\n")
    assert read(Example, path).optim.lr == 1e-4
    assert read(Example, {"epochs": 1}, [f"optim.lr={text}"]).optim.lr == 1e-4


@pytest.mark.parametrize("override", ["epochs", "=3", "optim..lr=3", ".lr=3"])
def test_an_override_without_name_or_value_is_refused(override: str):
    with pytest.raises(UserError, match="--set takes NAME=VALUE"):
        read(Example, {"epochs": 1}, [override])


def test_an_override_below_a_plain_value_is_refused():
    with pytest.raises(UserError, match="'epochs' is not a group of settings"):
        read(Example, {"epochs": 1}, ["epochs.lr=3"])


def test_overrides_leave_the_source_as_it_was():
    source = {"epochs": 1, "optim": {"lr": 0.3}}
    read(Example, source, ["optim.lr=0.4"])
    assert source == {"epochs": 1, "optim": {"lr": 0.3}}


@pytest.mark.parametrize(
    ("content", "told"), [("a: [1", "cannot be read as YAML"), ("- 1\n- 2\n", "found list"), ("", "found NoneType")]
)
def test_a_file_that_holds_no_settings_says_what_it_holds(content: str, told: str, tmp_path: Path):
    path = tmp_path / "example.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=told):
        read(Example, path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.yaml"):
        read(Example, tmp_path / "absent.yaml")


def test_settings_never_change():
    with pytest.raises(pydantic.ValidationError):
        Example(epochs=1).epochs = 2  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("value", ["nan", ".inf"])
def test_a_number_that_is_not_finite_is_refused(value: str):
    with pytest.raises(UserError, match=r"optim\.lr"):
        read(Example, {"epochs": 1}, [f"optim.lr={value}"])


def test_equal_settings_have_equal_hashes_however_they_were_written():
    a = read(Example, {"epochs": 2, "optim": {"momentum": 0.5, "lr": 1}})
    b = read(Example, {"optim": {"lr": "1.0", "momentum": 0.5}}, ["epochs=2"])
    assert sha256(a) == sha256(b)
    assert sha256(a) != sha256(read(Example, {"epochs": 3}))
    assert canonical_json(Optim()) == '{"lr":0.1,"momentum":0.9}'


@pytest.mark.parametrize("more", ["b: [*a, *a]", "b: &b [*b]", "b: {<<: [*m, *m]}"])
def test_aliases_are_counted_each_time(more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.yaml"
    path.write_text(f"m: &m {{x: 1}}\na: &a [{', '.join('1' * 20)}]\n")
    assert settings.from_file(path)["m"] == {"x": 1}
    monkeypatch.setattr(settings, "MOST_VALUES", 30)
    settings.from_file(path)
    path.write_text(path.read_text() + more + "\n")
    with pytest.raises(UserError, match="stands for more than 30 values with its aliases written out"):
        settings.from_file(path)
