"""Bytes that were something once."""

from __future__ import annotations

import random

_EXTREMES = (b"\x00", b"\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00")
_MOST_CHANGES = 12


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A few changes, most of them where headers are: bits, extreme numbers, pieces gone, doubled, moved or cut off."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, _MOST_CHANGES)):
        if not changed:
            break
        dice.choice(_CHANGES)(changed, dice)
    return bytes(changed)


def _place(data: bytearray, dice: random.Random) -> int:
    """Half of all in the first kilobyte, where a file says what it is."""
    return dice.randrange(min(len(data), 1024) if dice.random() < 0.5 else len(data))


def _flip(data: bytearray, dice: random.Random) -> None:
    data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _overwrite(data: bytearray, dice: random.Random) -> None:
    value, at = dice.choice(_EXTREMES), _place(data, dice)
    data[at : at + len(value)] = value


def _remove(data: bytearray, dice: random.Random) -> None:
    at = _place(data, dice)
    del data[at : at + dice.randint(1, 64)]


def _repeat(data: bytearray, dice: random.Random) -> None:
    at = _place(data, dice)
    data[at:at] = data[at : at + dice.randint(1, 64)] * dice.randint(1, 8)


def _swap(data: bytearray, dice: random.Random) -> None:
    one, other, size = _place(data, dice), _place(data, dice), dice.randint(1, 64)
    piece = data[one : one + size]
    data[one : one + size] = data[other : other + len(piece)]
    data[other : other + len(piece)] = piece


def _noise(data: bytearray, dice: random.Random) -> None:
    at = _place(data, dice)
    data[at : at + 32] = dice.randbytes(32)


def _cut(data: bytearray, dice: random.Random) -> None:
    if dice.random() < 0.2:
        del data[_place(data, dice) :]


_CHANGES = (_flip, _flip, _overwrite, _overwrite, _remove, _repeat, _swap, _noise, _cut)
