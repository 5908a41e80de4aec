"""Operations of networks by quicker ways than torch's own, for steps of training on a CPU.

They are the same sums in another order, or by other products: results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from truefit.operations.narrow_norm import batch_norm
from truefit.operations.winograd import convolution

Ways = dict[Any, Callable[..., Any]]

NORMS: Ways = {F.batch_norm: batch_norm}
ALL: Ways = {torch.conv2d: convolution, **NORMS}


class Quicker(TorchFunctionMode):
    """Within this operations are computed in one of the quicker ways, where there is one for what they are given."""

    def __init__(self, ways: Ways = ALL) -> None:
        super().__init__()
        self.ways = ways

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.ways.get(func, func)(*args, **(kwargs or {}))
