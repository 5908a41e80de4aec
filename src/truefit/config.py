"""Settings as frozen dataclasses: to plain values and back, with every mistake named."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from truefit.errors import InputError, nearest

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """A dataclass (nested, with tuples and paths) as dicts, lists, strings and numbers, fit for JSON and YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one: {"optimizer.lr": 0.05}. An empty one stays what it is."""
    found: dict[str, Any] = {}
    for key, item in tree.items():
        if isinstance(item, Mapping) and item:
            found |= flat(item, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = item
    return found


def from_plain(cls: type[T], plain: Any, *, where: str = "", base: T | None = None) -> T:
    """The dataclass `cls` from plain values; what is missing keeps the value of `base`, or the default.

    Raises InputError on an unknown key (naming the nearest) and on a value of the wrong type.
    """
    place = where or cls.__name__
    if not isinstance(plain, Mapping):
        raise InputError(f"{place}: a mapping is wanted", found=repr(plain), wanted="keys and values")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in plain.items():
        if name not in fields:
            deeper = _place_of(str(name), cls)
            fix = f"it stands deeper: {deeper}" if deeper else nearest(str(name), fields)
            raise InputError(f'unknown key "{name}"', where=place, fix=fix)
        before = getattr(base, name) if base is not None else None
        values[name] = _convert(hints[name], value, f"{where}.{name}" if where else str(name), before)
    if base is not None:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]
    return cls(**values)


def _place_of(name: str, cls: Any) -> str:
    """Where a key of this name stands in the settings within these ones, as `recipe.optimizer.lr`; "" for nowhere."""
    for outer, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            inner = {field.name for field in dataclasses.fields(hint)}
            place = name if name in inner else _place_of(name, hint)
            if place:
                return f"{outer}.{place}"
    return ""


def _convert(hint: Any, value: Any, where: str, before: Any) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, typing.cast(type[Any], hint)):
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        for choice in choices:
            try:
                return _convert(choice, value, where, before)
            except InputError:
                if choice is choices[-1]:
                    raise
    if origin is typing.Literal:
        if value not in arguments:
            raise InputError(
                f"{where}: unknown value",
                found=repr(value),
                wanted=", ".join(map(repr, arguments)),
                fix=nearest(str(value), map(str, arguments)),
            )
        return value
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type[Any], hint), value, where=where, base=before)
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise InputError(f"{where}: wrong length", found=repr(value), wanted=f"{len(arguments)} values")
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(
            _convert(kind, item, f"{where}[{i}]", None) for i, (kind, item) in enumerate(zip(inner, value, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text, because it has no dot.
        try:
            return float(value)
        except ValueError:
            pass
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise InputError(f"{where}: wrong type", found=repr(value), wanted=wanted)


def check_types(settings: Any) -> None:
    """Raise InputError where a field does not hold what its annotation says: for `__post_init__`."""
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        _convert(hints[field.name], getattr(settings, field.name), field.name, None)


def seconds_of(text: str | float, name: str) -> float:
    """`90s`, `20m`, `1.5h`, or a number of seconds, above 0. InputError naming the setting for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text) if isinstance(text, str) else None
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else text
    if isinstance(seconds, str) or not 0 < seconds < float("inf"):
        raise InputError(f"{name} is no length of time", found=repr(text), wanted="such as 90s, 20m or 1.5h")
    return float(seconds)


def require(condition: bool, name: str, found: object, wanted: str, fix: str | None = None) -> None:
    """Raise InputError unless the condition holds: for `__post_init__` of a settings class."""
    if not condition:
        raise InputError(f"{name} is out of range", where=name, found=repr(found), wanted=wanted, fix=fix)
