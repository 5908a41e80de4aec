"""A figure of matplotlib that a notebook shows by itself, without %matplotlib inline."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """Made without pyplot, so that nothing is kept open and no backend is chosen for the caller."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()
