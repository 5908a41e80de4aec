"""Which JPEG files need nothing but decoding, and what do they hold?

Pillow takes three times as long for a small file, most of it in Python. It stays the judge: whatever is not an ordinary
whole file is left to it, and what is decoded here is bit for bit what it gives, as both call libjpeg-turbo in one way.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

_START: Final = b"\xff\xd8\xff"
# May hold an orientation, as EXIF or XMP. In compressed data no such byte follows 255.
_APPLICATION_1: Final = b"\xff\xe1"


def decode_plain(content: bytes, size: int) -> npt.NDArray[np.uint8] | None:
    """The pixels, uint8 (size, size, 3) as RGB, of a JPEG file's bytes; None for all that is not a whole JPEG of
    8 bits with that very size, in colour or grey, and with nothing that may say how it is to be turned."""
    if not content.startswith(_START):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if (height, width) != (size, size) or colours == "CMYK" or colours == "YCCK" or _APPLICATION_1 in content:
            return None
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content)
    except ValueError:  # also for what libjpeg only warns of
        return None
    return pixels
