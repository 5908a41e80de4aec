"""3 x 3 convolutions with a fraction of the multiplications.

Images are cut into tiles of m x m pixels. A tile and its border, (m + 2) x (m + 2), is transformed, and so are the
filters; multiplied there number by number, and transformed back, they give the tile's convolution: (m + 2)^2
multiplications instead of 9 m^2, 4 to 5 times fewer where tiles fit, and at least 2. All tiles and filters together are
(m + 2)^2 matrix products. Gradients are computed in the same way. Rounding errors are about ten times those of the
usual way, 1e-6 to 1e-5 of the values; bfloat16's are a thousand times as large. A training keeps the transformed tiles,
two to three times the images.

Source: Winograd (1980), "Arithmetic Complexity of Computations"; for convolutions Lavin and Gray (2016), "Fast
Algorithms for Convolutional Neural Networks". The matrices are made in the way of Toom (1963) and Cook (1966), from a
product of polynomials at a few points.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Sides of tiles that are tried; larger ones would need points that cost digits.
TILES = (4, 6)
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
# It pays where transforms are few beside products: 1 / in + 1 / out at most this, channels of 50 and 50.
MOST_TRANSFORMS = 1 / 25
# And where this part of the multiplications is left at most; odd sizes are padded up to whole tiles.
MOST_LEFT = 0.5


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv2d, computed so where it pays."""
    usual = _pair(stride) == _pair(dilation) == _pair(padding) == (1, 1)
    usual = usual and weight.shape[2:] == (3, 3) and input.ndim == 4 and len(input) > 0
    # What is grouped is left to torch, and what does not fit, of which it says so.
    usual = usual and input.shape[1] == weight.shape[1] and input.device.type == "cpu"
    if usual and input.dtype == weight.dtype == torch.float32:
        side = _tile(weight.shape[1], weight.shape[0], input.shape[2], input.shape[3])
        if side is not None:
            out: Tensor = _Convolution.apply(input, weight, bias, side)
            return out
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) and len(value) == 2 else (value, value)


@lru_cache
def _tile(channels: int, filters: int, height: int, width: int) -> int | None:
    """The side of the tiles that leave the fewest multiplications; None where it does not pay."""
    if not height or not width or 1 / channels + 1 / filters > MOST_TRANSFORMS:
        return None

    def left(side: int) -> float:
        return -(-height // side) * -(-width // side) * (side + 2) ** 2 / (9 * height * width)

    best = min(TILES, key=left)
    return best if left(best) <= MOST_LEFT else None


class _Matrices(NamedTuple):
    """What transforms a tile with its border, a filter, and back a product: (m + 2, m + 2), (m + 2, 3), (m, m + 2)."""

    tile: Tensor
    filter: Tensor
    back: Tensor


@lru_cache
def _matrices(side: int, *, alone: bool) -> _Matrices:
    """alone: one tile is the image; its border is zeros, which are left out."""

    def values(terms: int) -> Any:
        """A polynomial's values at the points, and at infinity, from its coefficients: (side + 2, terms)."""
        finite = np.array(POINTS[: side + 1])[:, None] ** np.arange(terms)
        return np.vstack([finite, np.eye(terms)[-1:]])

    # A convolution is the transpose of a product of polynomials: values, multiplied, back to coefficients.
    whole = np.linalg.inv(values(side + 2)).T
    # Either may be scaled by what the other is divided by; so both are near 1.
    scale = np.abs(whole).max(axis=1, keepdims=True)
    tile = (whole / scale)[:, 1:-1] if alone else whole / scale
    made = (tile, values(3) * scale, values(side).T)
    return _Matrices(*(torch.tensor(matrix, dtype=torch.float32, device="cpu") for matrix in made))


class _Convolution(torch.autograd.Function):
    """Images (N, C, H, W) with weight (K, C, 3, 3), padded by 1: (N, K, H, W), all float32."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, side: int) -> Tensor:
        matrices = _matrices(side, alone=images.shape[2:] == (side, side))
        tiles = _both(matrices.tile, _tiles(images, side, matrices.tile.shape[1]))
        filters = _both(matrices.filter, weight.permute(2, 3, 0, 1))
        ctx.save_for_backward(tiles, filters)
        ctx.side, ctx.images = side, images.shape
        shape = (len(images), len(weight), *images.shape[2:])
        # Detached: torch refuses changes in place, such as those of a ReLU, to a view that was made in here.
        return _images(_both(matrices.back, tiles @ filters.mT), shape, side, bias).detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Each of forward's steps transposed, in turn from the last."""
        tiles, filters = ctx.saved_tensors
        matrices = _matrices(ctx.side, alone=gradient.shape[2:] == (ctx.side, ctx.side))
        products = _both(matrices.back.T, _tiles(gradient, ctx.side, ctx.side))
        of_images = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_images = _images(_both(matrices.tile.T, products @ filters), ctx.images, ctx.side)
        if ctx.needs_input_grad[1]:
            of_weight = _both(matrices.filter.T, products.mT @ tiles).permute(2, 3, 0, 1)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_weight, of_bias, None


def _both(matrix: Tensor, tiles: Tensor) -> Tensor:
    """The matrix (p, q) times columns and rows of tiles (q, q, n, C): (p, p, n, C)."""
    p, q = matrix.shape
    columns = matrix @ tiles.reshape(q, -1)
    return torch.bmm(matrix.expand(p, p, q), columns.view(p, q, -1)).view(p, p, *tiles.shape[2:])


def _tiles(images: Tensor, side: int, wide: int) -> Tensor:
    """Images (N, C, H, W) cut into tiles every `side` pixels that are `wide`, by zeros beyond the images' borders:
    (wide, wide, n, C).
    """
    _, channels, height, width = images.shape
    lying, border = images.permute(0, 2, 3, 1), (wide - side) // 2
    below, right = -height % side, -width % side
    if border or below or right:
        lying = F.pad(lying, (0, 0, border, border + right, border, border + below))
    cut = lying.unfold(1, wide, side).unfold(2, wide, side)
    return cut.permute(4, 5, 0, 1, 2, 3).reshape(wide, wide, -1, channels)


def _images(tiles: Tensor, shape: tuple[int, ...], side: int, bias: Tensor | None = None) -> Tensor:
    """What `_tiles` cuts, put together: images (N, C, H, W) in channels_last. Pixels of several tiles are their sum."""
    samples, channels, height, width = shape
    down, across = -(-height // side), -(-width // side)
    wide = tiles.shape[0]
    placed = tiles.view(wide, wide, samples, down, across, channels).permute(2, 3, 0, 4, 1, 5)
    beyond = wide - side
    whole = (samples, down * side + beyond, across * side + beyond, channels)
    if not beyond:
        lying = placed.new_empty(placed.shape)
        lying = torch.add(placed, bias, out=lying) if bias is not None else lying.copy_(placed)
        lying = lying.view(whole)
    else:
        # The part of each tile that is its own, and then what reaches into the next one; each of these has a place
        # for itself.
        lying = tiles.new_zeros(whole)
        for top, bottom in ((0, side), (side, wide)):
            for left, right in ((0, side), (side, wide)):
                windows = lying[:, top:, left:].unfold(1, bottom - top, side).unfold(2, right - left, side)
                windows.permute(0, 1, 4, 2, 5, 3).add_(placed[:, :, top:bottom, :, left:right])
    border = beyond // 2
    lying = lying[:, border : border + height, border : border + width]
    return lying.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
