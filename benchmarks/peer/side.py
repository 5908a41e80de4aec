"""One side of peers.py: a process that trains one epoch whenever a line comes in, and says when its steps began.

python -m peer.side NAME IMAGES THREADS
"""

import contextlib
import importlib
import json
import resource
import sys
import time
import warnings

NAME, IMAGES, THREADS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def main() -> None:
    warnings.filterwarnings("ignore")
    answers = sys.stdout
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32)).float() / 255
    labels = torch.randint(0, 10, (IMAGES,))
    # What the side prints goes to the terminal on stderr, as on a user's screen.
    with contextlib.redirect_stdout(sys.stderr):
        start = time.perf_counter()
        epoch = importlib.import_module(f"peer.{NAME}").prepare(images, labels)
        prepared = time.perf_counter() - start
    print(json.dumps({"import_and_prepare_seconds": round(prepared, 3)}), file=answers, flush=True)
    for _ in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            stamps = list(epoch())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"stamps": stamps, "peak_mb": round(peak / 1024)}), file=answers, flush=True)


main()
