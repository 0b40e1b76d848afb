"""The digest against a second, slow version written from its definition (DESIGN, nouns)."""

import hashlib
import struct

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from transferbench.checkpoints import digest


def reference(state: dict[str, Tensor]) -> str:
    """One byte string after the other, each float32 packed by hand."""
    total = hashlib.sha256()
    for name in sorted(n for n in state if not n.endswith("num_batches_tracked")):
        tensor = state[name]
        total.update(name.encode() + b"\0" + str([int(s) for s in tensor.shape]).encode() + b"\0")
        for value in tensor.double().flatten().tolist():
            total.update(struct.pack("<f", value))
    return total.hexdigest()


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "layer.weight": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(4, generator=generator),
        "scale": torch.tensor(1.5),
        "bn.num_batches_tracked": torch.tensor(7),
    }


def test_digest_equals_its_definition() -> None:
    assert digest(weights()) == reference(weights())


def test_digest_reads_values_not_memory_order_or_insertion_order() -> None:
    state = weights()
    shuffled = dict(reversed(state.items()))
    shuffled["layer.weight"] = state["layer.weight"].t().contiguous().t()
    assert digest(shuffled) == digest(state)


def test_digest_leaves_out_the_step_counter_alone() -> None:
    state = weights()
    del state["bn.num_batches_tracked"]
    assert digest(state) == digest(weights())


def test_digest_of_half_precision_is_that_of_the_same_numbers_in_float32() -> None:
    half = {name: tensor.bfloat16() for name, tensor in weights().items()}
    assert digest(half) == reference({name: tensor.float() for name, tensor in half.items()})


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["layer.weight", "bias", "scale"]), st.floats(0.5, 2, width=32))
def test_any_changed_value_changes_the_digest(name: str, by: float) -> None:
    state = weights()
    state[name].view(-1)[-1] += by
    assert digest(state) != digest(weights())


def test_renaming_and_reshaping_change_the_digest() -> None:
    state = weights()
    renamed = {("other" if name == "bias" else name): tensor for name, tensor in state.items()}
    reshaped = {**state, "layer.weight": state["layer.weight"].reshape(4, 3)}
    assert len({digest(state), digest(renamed), digest(reshaped)}) == 3
