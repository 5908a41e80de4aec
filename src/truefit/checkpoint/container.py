"""One file with a tree and its tensors: a line with the schema's version, a checksum, JSON, safetensors.

    truefit checkpoint 1\\n     the version
    32 bytes                   SHA-256 of everything after it
    8 bytes, little-endian     length of the JSON
    JSON                       the tree, with names in place of tensors
    safetensors                the tensors

Reading it executes nothing. The tensors are written here rather than by the safetensors library, which holds the
interpreter's lock for as long as it copies (a tenth of a second for 100 MB): training would stand still meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from truefit.errors import InputError

MAGIC = b"truefit checkpoint 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size
_HEAD = len(MAGIC) + DIGEST_BYTES
_PIECE = 2**20

# The names of element types in the safetensors format.
_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_container(path: Path, plain: Any, tensors: dict[str, Tensor]) -> None:
    """Write the file. The interpreter's lock is never held for longer than a megabyte takes."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        file.write(MAGIC + bytes(DIGEST_BYTES))
        for piece in _pieces(plain, tensors):
            digest.update(piece)
            file.write(piece)
        file.seek(len(MAGIC))
        file.write(digest.digest())


def read_container(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """What `write_container` wrote. InputError where the file is damaged, of another version, or something else."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("the checkpoint can't be read", where=path, found=error.strerror or error) from error
    if content[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
        raise InputError(
            "this is a pickle, as torch.save writes it",
            where=path,
            found="a file whose reading can execute code",
            wanted="a checkpoint of truefit",
        )
    if content[: len(MAGIC)] != MAGIC:
        raise InputError(
            "the checkpoint is damaged, or of another version of truefit",
            where=path,
            found=repr(content[: len(MAGIC)]),
            wanted=repr(MAGIC),
        )
    if hashlib.sha256(content[_HEAD:]).digest() != content[len(MAGIC) : _HEAD]:
        raise InputError(
            "the checkpoint is damaged: its checksum is wrong", where=path, found=f"{len(content):,} bytes"
        )
    try:
        length = int.from_bytes(content[_HEAD : _HEAD + 8], "little")
        plain = json.loads(content[_HEAD + 8 : _HEAD + 8 + length])
        tensors: dict[str, Tensor] = load(content[_HEAD + 8 + length :])
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError, SafetensorError) as error:
        raise InputError("the checkpoint can't be read", where=path, found=error) from error
    return plain, tensors


def _pieces(plain: Any, tensors: dict[str, Tensor]) -> Iterator[bytes | memoryview]:
    text = json.dumps(plain, separators=(",", ":")).encode()
    yield len(text).to_bytes(8, "little")
    yield text
    # Wide element types first, so that each tensor begins at a multiple of its element's size.
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    yield len(encoded).to_bytes(8, "little") + encoded
    for name in names:
        flat = tensors[name].contiguous().reshape(-1)
        if flat.numel():
            data = memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
            for start in range(0, len(data), _PIECE):
                yield data[start : start + _PIECE]
