"""`preset: NAME` is the protocol a paper publishes: values, under what is given beside it."""

import pytest

from transferbench import settings
from transferbench.errors import UserError
from transferbench.records import protocol_sha256
from transferbench.suite import Suite, SuiteEntry, plan
from transferbench.tasks import TASKS, knn, linear, linear_fast, semi, spectrum

# From docs/protocols.md#linear: epochs, batch size, rate for 256 images, decay, optimizer, schedule.
LINEAR = {
    "intl": (100, 256, 0.2, 0, "sgd", "step"),
    "intl_multicrop": (100, 256, 0.4, 0, "sgd", "step"),
    "cwrgp": (100, 1024, 0.1, 0, "lars", "cosine_by_epoch"),
    "moco": (100, 256, 30, 0, "sgd", "step"),
    "simsiam": (90, 4096, 0.1, 0, "lars", "cosine_by_epoch"),
    "barlow": (100, 256, 0.3, 1e-6, "sgd", "cosine_by_epoch"),
    "vicreg": (100, 256, 0.02, 1e-6, "sgd", "cosine_by_epoch"),
    "swav": (100, 256, 0.3, 1e-6, "sgd", "cosine_by_epoch"),
    "simclr": (90, 256, 0.1, 0, "sgd", "cosine"),
}
# From docs/protocols.md#semi, (preset, percent): rates of backbone and head, schedule.
SEMI = {
    ("intl", 1): (0.004, 0.2, "constant"),
    ("intl", 10): (0.004, 0.2, "constant"),
    ("barlow", 1): (0.005, 0.5, "cosine_by_epoch"),
    ("barlow", 10): (0.005, 0.5, "cosine_by_epoch"),
    ("vicreg", 1): (0.03, 0.08, "cosine_by_epoch"),
    ("vicreg", 10): (0.01, 0.1, "cosine_by_epoch"),
    ("swav", 1): (0.02, 5, "step"),
    ("swav", 10): (0.01, 0.2, "step"),
}
# From docs/protocols.md#k-nn.
KNN = {
    "wmse5": ((5,), "euclidean", "majority", None),
    "instdisc": ((200,), "cosine", "weighted", 0.1),
    "simsiam": ((200,), "cosine", "weighted", 0.2),
    "dino": ((10, 20, 100, 200), "cosine", "weighted", 0.07),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_presets_are_the_published_settings(name: str):
    found = linear.Config(preset=name)
    settled = (found.epochs, found.batch_size, found.lr_head, found.weight_decay, found.optimizer, found.schedule)
    assert settled == LINEAR[name]
    assert (found.momentum, found.decay_at, found.decay_by, found.trust) == (0.9, (0.6, 0.8), 0.1, 0.001)
    assert name in linear.label(found)


@pytest.mark.parametrize(("name", "percent"), SEMI)
def test_semi_presets_depend_on_the_percentage(name: str, percent: int):
    found = semi.Config(preset=name, percent=percent)
    assert (found.lr_backbone, found.lr_head, found.schedule) == SEMI[name, percent]
    assert (found.epochs, found.batch_size, found.weight_decay, found.percent) == (20, 256, 0, percent)
    assert semi.label(found) == f"{percent} % ({name})"
    assert [found.factor(epoch, 0, 1) for epoch in (0, 12, 16)] == pytest.approx(
        {"constant": [1, 1, 1], "step": [1, 0.2, 0.04], "cosine_by_epoch": [1, 0.34549, 0.09549]}[found.schedule],
        rel=1e-4,
    )


def test_a_semi_preset_has_no_rates_for_other_shares():
    with pytest.raises(UserError, match="vicreg is for percent 1 and 10, found 50"):
        settings.read(semi.Config, {"preset": "vicreg", "percent": 50})
    assert semi.Config(preset="barlow", percent=100).lr_backbone == 0.005


@pytest.mark.parametrize("name", KNN)
def test_knn_presets_are_the_published_settings(name: str):
    found, (ks, metric, vote, temperature) = knn.Config(preset=name), KNN[name]
    assert (found.ks, found.metric, found.vote) == (ks, metric, vote)
    assert temperature in (None, found.temperature)
    assert name in knn.label(found)


def test_one_protocol_has_one_hash_however_it_is_written():
    named, spelled = knn.Config(preset="instdisc"), knn.Config(k=200, ks=(200,), temperature=0.1)
    assert protocol_sha256("knn", "1", named) == protocol_sha256("knn", "1", spelled)
    assert knn.label(spelled) == knn.label(named) == "200-NN (instdisc)"
    assert "preset" not in settings.canonical_json(named)
    assert linear.Config() == linear.Config(preset="intl")


def test_set_reaches_a_preset_and_what_lies_over_it():
    suite = Suite(name="s", jobs=(SuiteEntry(task="knn"),))
    [job] = plan({"digits": suite}, ["knn.preset=wmse5", "knn.k=7"])
    assert job.config == knn.Config(k=7, ks=(5, 7), metric="euclidean", vote="majority")
    assert knn.label(job.config) == "7-NN (euclidean)"
    assert plan({"digits": suite}, ["knn.preset=dino"])[0].config.ks == (10, 20, 100, 200)


def test_a_preset_takes_the_place_of_what_the_suite_states():
    short = Suite(
        name="s",
        jobs=(
            SuiteEntry(task="linear", settings={"epochs": 15, "flip": 0}),
            SuiteEntry(task="semi", id="semi-1", settings={"percent": 1, "preset": "intl", "epochs": 15}),
        ),
    )
    linear_job, semi_job = plan({"digits": short}, ["linear.preset=moco", "semi.preset=swav"])
    assert linear_job.config == linear.Config(preset="moco", flip=0)
    assert linear.label(linear_job.config) == "linear (moco, flip=0)"
    assert semi_job.config == semi.Config(percent=1, preset="swav")
    assert plan({"digits": short}, ["linear.preset=moco", "linear.epochs=3"])[0].config.epochs == 3
    assert plan({"digits": short})[0].config.epochs == 15
    with pytest.raises(UserError, match="vicreg is for percent 1 and 10, found 7"):
        plan({"digits": short}, ["semi.preset=vicreg", "semi.percent=7"])
    with pytest.raises(UserError, match="Did you mean 'moco'"):
        plan({"digits": short}, ["linear.preset=mocco"])


@pytest.mark.parametrize("name", ["linear-fast", "linear_fast"])
def test_one_task_is_the_same_however_its_name_is_written(name: str):
    [job] = plan({"digits": Suite(name="s", jobs=(SuiteEntry(task="knn"),)).only(name)}, ["linear-fast.preset=moco"])
    assert (job.task, job.config) == ("linear_fast", linear_fast.Config(preset="moco"))
    assert linear_fast.label(job.config) == "linear-fast (moco)"


def test_an_unknown_preset_is_met_with_the_nearest():
    with pytest.raises(UserError, match=r"Unknown preset 'simsam'. Did you mean 'simsiam'\?"):
        settings.read(linear.Config, {"preset": "simsam"})
    with pytest.raises(UserError, match="preset: no such setting"):
        settings.read(spectrum.Config, {"preset": "dino"})


def test_settings_of_ones_own_have_no_preset():
    assert linear.Config(epochs=15).preset() is None
    assert linear.label(linear.Config(epochs=15)) == "linear"
    assert linear.label(linear.Config(preset="moco", precision="bfloat16")) == "linear (moco, precision=bfloat16)"
    assert linear_fast.label(linear_fast.Config(preset="simclr", crops=8)) == "linear-fast (simclr, crops=8)"
    assert linear.Config(preset="swav").preset() == "barlow, swav"
    assert semi.Config(percent=10).preset() is None


@pytest.mark.parametrize("name", TASKS.names())
def test_every_preset_of_every_task_is_sound_and_named(name: str):
    task = TASKS.load(name)
    for preset in task.Config.PRESETS:
        config = task.Config(preset=preset)
        assert preset in (config.preset() or "").split(", ")
        assert preset in task.label(config)
