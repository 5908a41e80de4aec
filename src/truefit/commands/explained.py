"""`truefit predict --explain FOLDER`: a heat map over each image, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from truefit.errors import InputError

if TYPE_CHECKING:
    from truefit.predictor import Predictor


class Overlays:
    """The folder where overlays go. InputError where it is not new or empty, or where no map can be made."""

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        from truefit.explain import check_explainable

        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError("the folder for explanations has something in it", where=folder, wanted="a new folder")
        check_explainable(predictor)
        self.folder, self.predictor = folder, predictor
        self._taken: set[str] = set()

    def write(self, source: str | bytes) -> Path:
        """Explain one image, a path or a file's bytes, and return where the overlay lies."""
        from truefit.explain import explain

        overlay = explain(self.predictor, source).overlay
        place = self.folder / f"{self._free('stdin' if isinstance(source, bytes) else Path(source).stem)}.png"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            overlay.save(place)
        except OSError as error:
            raise InputError("the explanation can't be written", where=place, found=error) from error
        return place

    def _free(self, stem: str) -> str:
        """The name, with a number where another file of that name, from another folder, has it already."""
        name, number = stem, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.lower())
        return name
