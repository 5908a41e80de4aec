"""Which images are nearly the same: re-encoded, mirrored, shifted a little, other colours or brightness?

Two steps. Luma in 8 x 8 fields, centred and scaled to length one, is compared for all pairs by blocked matrix products,
as it is and mirrored; pairs above CANDIDATE are candidates. Each is then judged by the highest correlation of what is
fine in both pictures (luma less its 5 x 5 mean) over shifts of up to three pixels: broad agreement, such as sea below
sky, does not count there. Both are invariant to brightness and contrast.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CANDIDATE = 0.9
ALIKE = 0.76
STRICT = 0.95
"""The score from which pairs count in place of ALIKE where more than a tenth of all images would be in a pair."""

_BLOCK = 1024
_CHUNK = 4096
_PER_ROW = 32
_SHIFT = 3
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows, first < second. score: correlation of their fine structure, at most 1. mirrored: one of them is."""

    first: int
    second: int
    score: float
    mirrored: bool


def near_pairs(thumbnails: npt.NDArray[np.uint8], usable: Rows) -> list[Pair]:
    """Pairs among the rows `usable` of uint8 (n, 32, 32, 3), the most alike first.

    Time grows with the square of their number, in matrix products: seconds for 10,000, under a minute for 60,000.
    """
    if len(usable) < 2:
        return []
    luma = np.concatenate([thumbnails[part] @ _LUMA for part in np.array_split(usable, len(usable) // 8192 + 1)])
    candidates = _candidates(luma)
    scored: dict[tuple[int, int], Pair] = {}
    for mirrored, (rows, columns) in enumerate(candidates):
        scores = _scores(luma, rows, columns, bool(mirrored))
        for at in np.flatnonzero(scores >= ALIKE):
            first, second = int(usable[rows[at]]), int(usable[columns[at]])
            score = min(float(scores[at]), 1.0)
            known = scored.get((first, second))
            if known is None or known.score < score:
                scored[first, second] = Pair(first, second, score, bool(mirrored))
    pairs = sorted(scored.values(), key=lambda pair: (-pair.score, pair.first, pair.second))
    involved = {row for pair in pairs for row in (pair.first, pair.second)}
    if len(pairs) > 20 and len(involved) > len(usable) / 10:
        # Pictures that are alike by nature (digits, microscopy): only what is all but identical counts.
        pairs = [pair for pair in pairs if pair.score >= STRICT]
    return pairs


def _candidates(luma: Floats) -> list[tuple[Rows, Rows]]:
    """(rows, columns) with row < column: upright pairs, then mirrored ones."""
    straight = _coarse(luma)
    sides = [straight, _coarse(luma[:, :, ::-1])]
    starts = range(0, len(luma), _BLOCK)

    def compare(start: int) -> list[tuple[Rows, Rows]]:
        found = []
        for side in sides:
            likeness = side[start : start + _BLOCK] @ straight[start:].T
            rows, columns = np.nonzero(likeness > CANDIDATE)
            forward = rows < columns
            rows, columns = rows[forward], columns[forward]
            if len(rows) > _PER_ROW * len(likeness):
                rows, columns = _closest(likeness, rows, columns)
            found.append((rows + start, columns + start))
        return found

    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 8))) as pool:
        blocks = list(pool.map(compare, starts))
    return [
        (np.concatenate([block[side][0] for block in blocks]), np.concatenate([block[side][1] for block in blocks]))
        for side in (0, 1)
    ]


def _closest(likeness: Floats, rows: Rows, columns: Rows) -> tuple[Rows, Rows]:
    """The _PER_ROW closest of each row: a bound on the work where everything is alike."""
    order = np.lexsort((-likeness[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    first = np.searchsorted(rows, rows)
    keep = np.arange(len(rows)) - first < _PER_ROW
    return rows[keep], columns[keep]


def _coarse(luma: Floats) -> Floats:
    fields = luma.reshape(len(luma), 8, 4, 8, 4).mean((2, 4), dtype=np.float32).reshape(len(luma), 64)
    return _unit(fields - fields.mean(1, keepdims=True))


def _scores(luma: Floats, rows: Rows, columns: Rows, mirrored: bool) -> Floats:
    """The correlation of the fine structure at its best shift: float32, one a pair."""
    from scipy import fft

    shifts = np.r_[0 : _SHIFT + 1, 32 - _SHIFT : 32]

    def score(at: int) -> Floats:
        left, right = luma[rows[at : at + _CHUNK]], luma[columns[at : at + _CHUNK]]
        if mirrored:
            left = left[:, :, ::-1]
        product = fft.rfft2(_fine(left)) * np.conj(fft.rfft2(_fine(right)))
        correlation = fft.irfft2(product, s=(32, 32))[:, shifts][:, :, shifts]
        best: Floats = correlation.reshape(len(left), -1).max(1).astype(np.float32)
        return best

    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 8))) as pool:
        parts = list(pool.map(score, range(0, len(rows), _CHUNK)))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _fine(luma: Floats) -> Floats:
    """Luma less its 5 x 5 mean, weaker towards the border, of mean 0 and length 1: float32 (n, 32, 32)."""
    from scipy.ndimage import uniform_filter1d

    smooth = uniform_filter1d(uniform_filter1d(luma, 5, axis=1, mode="mirror"), 5, axis=2, mode="mirror")
    window = np.sqrt(np.hanning(34)[1:-1]).astype(np.float32)
    fine = (luma - smooth) * window[:, None] * window
    flat = fine.reshape(len(fine), -1)
    return _unit(flat - flat.mean(1, keepdims=True)).reshape(fine.shape)


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.maximum(length, 1e-3)).astype(np.float32)
    return scaled
