"""Every item of the conformance inventory has a test that carries its number."""

from __future__ import annotations

import re

import pytest

from flue_sqla.testing import contracts

ITEMS = {"s": 73, "c": 21, "a": 10, "x": 17}


def numbers(letter: str) -> set[int]:
    names = {name for contract in contracts.__all__ for name in dir(getattr(contracts, contract))}
    return {int(match[1]) for name in names if (match := re.match(rf"test_{letter}(\d\d)_", name))}


@pytest.mark.parametrize("letter", ITEMS)
def test_every_item_has_a_test(letter: str) -> None:
    assert set(range(1, ITEMS[letter] + 1)) <= numbers(letter)
