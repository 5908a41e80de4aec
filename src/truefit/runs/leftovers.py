"""Does work that failed leave anything behind? Folders and files that were made for it go where nothing came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Before:
    """How a folder was before work in it began, so that work that came to nothing leaves nothing."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.missing = [folder for folder in (place, *place.parents) if not folder.exists()]
        self.empty = bool(self.missing) or (place.is_dir() and not any(place.iterdir()))

    def restore(self, names: Collection[str] = ()) -> None:
        """Remove files of these names, and the folders that were missing; nothing where anything else is in there, or
        where the folder held something before."""
        # What made the work fail is what the user must see.
        with suppress(OSError):
            if not self.empty or {path.name for path in self.place.iterdir()} - set(names):
                return
            for name in names:
                (self.place / name).unlink(missing_ok=True)
            for folder in self.missing:
                folder.rmdir()


@contextmanager
def nothing_left(place: Path | None, names: Collection[str] = ()) -> Iterator[None]:
    """Where what is done here fails, and left no more than files of these names in the folder, see `Before`."""
    before = None if place is None else Before(place)
    try:
        yield
    except BaseException:
        if before is not None:
            before.restore(names)
        raise
