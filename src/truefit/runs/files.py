"""Reading and writing single files: whole or not at all, and without executing anything."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from truefit.atomic import storage_errors, write_whole
from truefit.errors import InputError, StorageError

SCHEMA = 1


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a mapping with the schema's version on top; NaN is refused, JSON knows none."""
    text = json.dumps({"schema": SCHEMA, **value}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda temporary: _write_text(temporary, text))


def read_json(path: Path) -> dict[str, Any]:
    """Read a mapping that `write_json` wrote; InputError where missing, damaged or of another schema."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing", where=path.parent, wanted="a finished run") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name} can't be read", where=path, found=error, wanted="JSON") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise InputError(f"{path.name} has an unknown schema", where=path, found=found, wanted=SCHEMA)
    return value


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add one line of JSON, or nothing: StorageError where the system refuses."""
    with storage_errors(path):
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(_line(value))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # Half a line would make the whole file unreadable.
            with suppress(OSError):
                os.truncate(path, before)
            raise


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    """Write the file that `append_line` would have written for these values."""
    text = "".join(map(_line, values))
    write_whole(path, lambda temporary: _write_text(temporary, text))


def _line(value: dict[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **value}, ensure_ascii=False, allow_nan=False) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The mappings that `append_line` wrote; InputError where missing, damaged or of another schema."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing", where=path.parent, wanted="a run") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name} can't be read", where=path, found=error, wanted="lines of JSON") from error
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or line.get("schema") != SCHEMA:
            raise InputError(f"{path.name} has an unknown schema", where=f"{path}, line {number}", wanted=SCHEMA)
    return lines


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors: no code, no timestamps."""
    plain = {
        name: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    write_whole(path, lambda temporary: _save_tensors(plain, temporary))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors onto the CPU; InputError where missing, damaged, or a pickle."""
    try:
        with path.open("rb") as file:
            if file.read(2) in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
                raise InputError(
                    f"{path.name} is a pickle, as torch.save writes it",
                    where=path,
                    found="a file whose reading can execute code",
                    wanted="safetensors",
                )
        tensors: dict[str, Tensor] = load_file(path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing", where=path.parent, wanted="a finished run") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path.name} can't be read", where=path, found=error, wanted="safetensors") from error
    return tensors


def file_digest(path: Path) -> str:
    """`blake2b:` and 64 hexadecimal digits of the file's bytes."""
    return f"blake2b:{hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()}"


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as npz."""
    write_whole(path, lambda temporary: np.savez_compressed(temporary, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read arrays without pickles; InputError where missing or damaged."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing", where=path.parent, wanted="a finished run") from None
    except Exception as error:
        # Decoders meet broken files with errors of every kind: BadZipFile, zlib.error, MemoryError, SyntaxError.
        raise InputError(f"{path.name} can't be read", where=path, found=error, wanted="an npz file") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda temporary: _write_text(temporary, text))


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # It wraps what the system said, such as "No space left on device".
        raise StorageError(f"{path.name} can't be written", where=path, found=error) from error


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
