"""When did each step begin? The same two lines in every side that trains the very same network."""

import time

from torch import nn

BATCH = 64


def stamped(network: nn.Module, stamps: list[float]) -> nn.Module:
    """The network, which from now on notes the moment of each forward pass."""
    network.register_forward_pre_hook(lambda *_: stamps.append(time.perf_counter()))
    return network
