"""Watching a program: torch's own functions are wrapped for the duration, and write down what is really called.

Each file wraps one subject. Wrappers call what they wrap exactly once with the same arguments, draw no random
number, and change nothing: a program that runs to its end has the weights that it has unwatched, bit for bit.
"""

from truefit.doctor.watch.watch import Ended, Limits, Watch

__all__ = ["Ended", "Limits", "Watch"]
