"""How often training state is saved, from the words of a user."""

from __future__ import annotations

import re
from dataclasses import dataclass

from truefit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """After so many seconds of training or so many optimiser steps, and at the end of each epoch; or never."""

    seconds: float | None = None
    steps: int | None = None
    epochs: bool = True

    @classmethod
    def parse(cls, text: str) -> Interval:
        """`60s`, `500steps`, `epoch` or `never`; InputError for anything else."""
        if text in ("epoch", "never"):
            return cls(epochs=text == "epoch")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|steps?)", text)
        if match and match[2] == "s":
            return cls(seconds=float(match[1]))
        if match and match[1].isdecimal() and int(match[1]) >= 1:
            return cls(steps=int(match[1]))
        raise InputError(
            "this is no interval between checkpoints",
            where="--checkpoint-every",
            found=repr(text),
            wanted="such as 60s, 500steps, epoch or never",
        )
