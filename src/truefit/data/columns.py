"""Which columns of a table hold what?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from truefit.config import check_types
from truefit.errors import InputError, nearest

USUAL = {
    "image": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "class", "class_name", "category", "target", "labels", "fine_label"),
    "split": ("split", "subset"),
    "group": ("group",),
}
"""The names that are looked for, upper or lower case, where none is given."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of data that is a table. None, or nothing: found by their usual names."""

    image: str | None = None
    """The column with the images or their paths: by default path, file, file_name, image ..."""
    label: tuple[str, ...] = ()
    """The column with the class; several with 0 and 1 are a class each: an image then has any number of labels."""
    split: str | None = None
    """The column that says train, validation or test: by default split or subset, where there is one."""
    group: str | None = None
    """The column with groups (patient, scene): images of one group stay in one split. By default group."""

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def given(self) -> bool:
        """Whether any was named."""
        return self != Columns()


@dataclass(frozen=True, kw_only=True)
class Found:
    """The columns as they are called in one table."""

    image: str
    label: tuple[str, ...]
    split: str | None
    group: str | None

    @property
    def names(self) -> set[str]:
        """All of them."""
        return {name for name in (self.image, *self.label, self.split, self.group) if name is not None}


def find_columns(columns: Columns, names: Sequence[str], where: object) -> Found:
    """The columns of a table that has `names`. Raises InputError where one is missing, or can't be told by its name."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError("columns have the same name", where=where, found=", ".join(map(repr, twice)))
    for name in (columns.image, *columns.label, columns.split, columns.group):
        if name is not None and name not in names:
            raise InputError(f'there is no column "{name}"', where=where, fix=nearest(name, names))
    taken = {columns.image, *columns.label, columns.split, columns.group}

    def usual(role: str) -> str | None:
        found = [name for name in names if name.lower() in USUAL[role] and name not in taken]
        if len(found) > 1:
            raise InputError(
                f"several columns might be the {role}",
                where=where,
                found=", ".join(found),
                wanted="one of them",
                fix=f"--columns.{role} {found[0]}",
            )
        return found[0] if found else None

    def wanted(role: str) -> str:
        name = usual(role)
        if name is None:
            raise InputError(
                f"there is no column for the {role}",
                where=where,
                found=", ".join(names) or "no columns",
                wanted=f"one called {', '.join(USUAL[role])}",
                fix=f"--columns.{role} NAME",
            )
        return name

    return Found(
        image=columns.image or wanted("image"),
        label=columns.label or (wanted("label"),),
        split=columns.split or usual("split"),
        group=columns.group or usual("group"),
    )
