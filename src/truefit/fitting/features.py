"""Features of a frozen network: what its head is given, computed once for each image and kept on disk.

They lie in ~/.cache/truefit/features ($TRUEFIT_CACHE/features; nowhere where that is `off`), in a file for each
network with its weights and preparation. A row is found by the digest of its image's pixels, so copies, other splits
and other orders of the same images use the same row.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from truefit import loop, rng
from truefit.atomic import write_whole
from truefit.config import to_plain
from truefit.data.imageset import ImageSet
from truefit.errors import InputError, StorageError, warn
from truefit.fitting.plan import AnySet
from truefit.fitting.setup import Setup
from truefit.models.head import headless
from truefit.precision import Precision
from truefit.predictor import Averaging

Features = npt.NDArray[np.float32]


def features_folder() -> Path | None:
    """Where features are kept; None where nothing is."""
    chosen = os.environ.get("TRUEFIT_CACHE") or "~/.cache/truefit"
    return None if chosen == "off" else Path(chosen).expanduser().absolute() / "features"


def frozen_features(setup: Setup, dataset: AnySet, head: str) -> tuple[Features, int]:
    """Float32 (n, d): for each image, in order, what the layer `head` is given, in eval mode, averaged as the
    predictor averages. And how many of them were computed now, not found on disk."""
    folder = features_folder()
    if not isinstance(dataset, ImageSet) or folder is None:
        return _computed(setup, dataset, head), _length(dataset)
    path = folder / f"{_key(setup, head)}.safetensors"
    digests = dataset.sample_digests()
    known, kept = _read(path)
    unique, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    missing = np.flatnonzero(~np.isin(unique, known))
    if len(missing):
        computed = _computed(setup, dataset.subset(first[missing]), head)
        known = np.concatenate([known, unique[missing]]) if len(known) else unique[missing]
        kept = np.concatenate([kept, computed]) if len(kept) else computed
        _write(path, known, kept)
    order = np.argsort(known)
    rows = order[np.searchsorted(known, unique, sorter=order)]
    return kept[rows[inverse]], len(missing)


def _computed(setup: Setup, dataset: AnySet, head: str) -> Features:
    batches = setup.batches(dataset, "training set", setup.settings.evaluation_batch_size)
    network: nn.Module = setup.network
    precision = Precision(setup.settings.precision, setup.device)
    found = []
    with headless(network, head):
        module = Averaging(network, setup.config.averaging, 1.0)
        with loop.mode(network, training=False), rng.preserved(setup.device), torch.no_grad(), precision.autocast():
            found = [module(batch.images).float().cpu() for batch in batches.epoch(0)]
    features = torch.cat(found)
    if features.ndim != 2:
        raise InputError(
            "the network's head is not given one vector for each image",
            where=head,
            found=f"features of shape {tuple(features.shape)}",
            wanted="(N, d)",
            fix="train it without a probe: another --recipe",
        )
    array: Features = features.numpy()
    return array


def _length(dataset: AnySet) -> int:
    return len(dataset)  # type: ignore[arg-type]


def _key(setup: Setup, head: str) -> str:
    """A digest of all that decides a feature but the image."""
    digest = hashlib.blake2b(digest_size=12)
    for name, tensor in setup.network.state_dict().items():
        if not name.startswith(f"{head}."):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    about = {
        "pipeline": to_plain(setup.config.pipeline),
        "averaging": setup.config.averaging,
        "precision": setup.settings.precision,
        "device": torch.device(setup.settings.device).type,
        "torch": torch.__version__,
        "class": f"{type(setup.network).__module__}.{type(setup.network).__qualname__}",
    }
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()


def _read(path: Path) -> tuple[npt.NDArray[np.void], Features]:
    """Digests and features of a file; none where there is none, or it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(path.read_bytes())
        return np.frombuffer(found["digests"].tobytes(), "V16"), found["features"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return np.zeros(0, "V16"), np.zeros((0, 0), np.float32)


def _write(path: Path, digests: npt.NDArray[np.void], features: Features) -> None:
    from safetensors.numpy import save_file

    tensors: dict[str, npt.NDArray[Any]] = {
        "digests": np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, 16),
        "features": np.ascontiguousarray(features),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: save_file(tensors, temporary))
    except (OSError, StorageError) as error:
        warn(f"features can't be kept for the next run ({path.parent}: {error})")
