"""Which JPEG files need nothing but decoding, and what do they hold?

Pillow takes three times as long for a small file, most of it in Python. It stays the judge: whatever is not an ordinary
whole file is left to it, and what is decoded here is bit for bit what it gives, as both call libjpeg-turbo in one way.
"""

from __future__ import annotations

from struct import Struct
from struct import error as TooShort
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import features

# Another library (an older one of the IJG, on some systems) may give other pixels.
_PILLOW_HAS_THE_SAME: Final = bool(features.check_feature("libjpeg_turbo"))

_SEGMENT: Final = Struct(">HH")  # marker, length
_FRAME: Final = Struct(">BHHB")  # bits, height, width, components
_FRAMES: Final = frozenset((0xFFC0, 0xFFC1, 0xFFC2))  # baseline, extended, progressive; all with Huffman's codes
_TABLES: Final = frozenset((0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE))  # Huffman, quantisation, restarts; comment
_SCAN: Final = 0xFFDA
# JFIF's and Adobe's own, at least this long. In others may be an orientation (EXIF, XMP).
_APPLICATIONS: Final = {0xFFE0: (b"JFIF\0", 16), 0xFFEE: (b"Adobe", 14)}


def decode_plain(content: bytes, size: int) -> npt.NDArray[np.uint8] | None:
    """The pixels, uint8 (size, size, 3) as RGB, of a JPEG file's bytes; None for all that is not a whole JPEG of
    8 bits with that very size, in colour or grey, and with nothing in it that may say how it is to be turned."""
    if not _PILLOW_HAS_THE_SAME or not _is_plain(content, size):
        return None
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content)
    except Exception:  # also for what libjpeg only warns of, and for what simplejpeg does not know
        return None
    return pixels


def _is_plain(content: bytes, size: int) -> bool:
    if not content.startswith(b"\xff\xd8"):
        return False
    at, frames = 2, 0
    try:
        while True:
            marker, length = _SEGMENT.unpack_from(content, at)
            if marker == _SCAN:
                return frames == 1
            if marker in _FRAMES:
                bits, height, width, components = _FRAME.unpack_from(content, at + 4)
                if bits != 8 or height != size or width != size or components not in (1, 3):
                    return False
                frames += 1
            elif marker not in _TABLES:
                name, least = _APPLICATIONS[marker]
                if length < least or not content.startswith(name, at + 4):
                    return False
            at += 2 + length
    except (TooShort, KeyError):
        return False
