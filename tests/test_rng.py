"""Keyed generators, and global generators that are lent and given back."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
import torch

from helpers import generator_states
from truefit import rng as keyed


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002


def test_equal_parts_give_equal_keys_and_others_do_not() -> None:
    parts = [(0,), (1,), (0, 0), (0, 1), (1, 0), ("order", 0), ("orde", "r", 0), (11, 1), (1, 11), (0, "augment", 0, 0)]
    keys = [keyed.key(*part) for part in parts]
    assert keys == [keyed.key(*part) for part in parts]
    assert len(set(keys)) == len(parts)
    assert all(0 <= key < 2**63 for key in keys)


def test_a_key_is_the_same_in_every_process_and_version() -> None:
    digest = hashlib.blake2b(b"0\x1forder\x1f0", digest_size=8).digest()
    assert keyed.key(0, "order", 0) == int.from_bytes(digest, "little") // 2


def test_a_generator_is_decided_by_its_parts() -> None:
    first = torch.rand(3, generator=keyed.generator(1, "a"))
    assert torch.equal(first, torch.rand(3, generator=keyed.generator(1, "a")))
    assert not torch.equal(first, torch.rand(3, generator=keyed.generator(1, "b")))


def test_making_and_using_a_keyed_generator_leaves_the_global_ones_alone() -> None:
    before = generator_states()
    torch.rand(3, generator=keyed.generator(1))
    assert generator_states() == before


@pytest.mark.parametrize("lend", [keyed.preserved, lambda: keyed.seeded(3), lambda: keyed.seeded_host(3)])
def test_generators_come_back_as_they_were_also_after_an_error(lend: object) -> None:
    before = generator_states()
    with lend():  # type: ignore[operator]
        draws()
    assert generator_states() == before
    with pytest.raises(KeyError), lend():  # type: ignore[operator]
        draws()
        raise KeyError
    assert generator_states() == before


@pytest.mark.parametrize("lend", [keyed.seeded, keyed.seeded_host])
def test_seeded_code_draws_the_same_from_all_three(lend: object) -> None:
    found = []
    for number in (3, 3, 4, 2**62 + 1):
        with lend(number):  # type: ignore[operator]
            found.append(draws())
    assert found[0] == found[1]
    assert all(a != b for a, b in zip(found[1], found[2], strict=True))


def test_seed_all_makes_every_generator_repeat() -> None:
    with keyed.preserved():
        keyed.seed_all(7)
        first = draws()
        keyed.seed_all(7)
        assert draws() == first
