"""`truefit cache ls|rm`: decoded images that are kept on disk, listed and removed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import tyro

from truefit.commands.arguments import parse

if TYPE_CHECKING:
    from truefit.data.cache import Entry


@dataclass(frozen=True, kw_only=True)
class CacheCommand:
    """List or remove decoded images. They are kept for folders that do not fit in memory, in ~/.cache/truefit/decoded
    or $TRUEFIT_CACHE (`off`: nowhere). Removing is always safe: what is gone is decoded again when it is needed."""

    action: Annotated[Literal["ls", "rm"], tyro.conf.Positional]
    """ls: key, images, size, when last used, and folder of each entry. rm: remove KEY, or all with --all."""
    key: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[KEY]")] = None
    """With rm: the key of the entry as ls prints it; its beginning will do."""
    all: bool = False
    """With rm: remove all entries."""
    json: bool = False
    """Print one machine-readable line on stdout."""


def main(arguments: Sequence[str]) -> int:
    """Parse, list or remove."""
    command = parse(CacheCommand, "cache", arguments)

    from truefit.data.cache import cache_folder, entries
    from truefit.data.cachefile import remove_unfinished

    where = cache_folder()
    found = entries(where) if where is not None else []
    if command.action == "rm":
        found = _chosen(command, found, where)
        for entry in found:
            entry.path.unlink(missing_ok=True)
        if where is not None:
            remove_unfinished(where)
    elif command.key is not None or command.all:
        _refuse("ls lists everything", "truefit cache ls", found="a key, or --all")
    if command.json:
        listed = [{**vars(entry), "path": str(entry.path)} for entry in found]
        print(json.dumps({"folder": str(where) if where is not None else None, command.action: listed}))
        return 0
    size = _size(sum(entry.bytes for entry in found))
    if command.action == "rm":
        print(f"removed: {len(found)} entries, {size}")
        return 0
    for entry in found:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
        side = f"{entry.image_size} x {entry.image_size} ({entry.resize})"
        what = f"{entry.images:,} images, {side}" if entry.images is not None else "damaged"
        print(f"{entry.key}  {_size(entry.bytes):>9}  {used}  {what}  {entry.folder or ''}".rstrip())
    print(f"{len(found)} entries, {size}, in {where if where is not None else 'no folder: TRUEFIT_CACHE is off'}")
    return 0


def _chosen(command: CacheCommand, found: list[Entry], where: object) -> list[Entry]:
    if command.all == (command.key is not None):
        _refuse("rm needs a key or --all", "truefit cache rm KEY", found="both" if command.all else "neither")
    chosen = [entry for entry in found if command.all or entry.key.startswith(command.key or "")]
    if not command.all and len(chosen) != 1:
        _refuse(
            f'{"no entry has" if not chosen else "several entries have"} a key that begins with "{command.key}"',
            "truefit cache ls",
            found=", ".join(entry.key for entry in chosen or found) or "no entries",
            where=where,
        )
    return chosen


def _refuse(what: str, fix: str, **details: object) -> NoReturn:
    from truefit.errors import InputError

    raise InputError(what, fix=fix, **details)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
