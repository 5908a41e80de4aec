"""Does `truefit doctor run --full` leave the weights as they are without it, bit for bit, in every healthy program?

    python benchmarks/doctor_full.py [--only 01 15] [--jobs 2] [--save]

Each program of zoo/healthy runs twice alone and once under --full, a process each. Compared are hashes of all
parameters that an optimiser stepped, of their optimisers' states, and of torch's generator at the end. A program that
differs from itself when it runs alone is listed as not repeatable.

--save writes results/doctor_full.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from forked import Job, as_script, run
from protocol import save
from torch.optim.optimizer import register_optimizer_step_post_hook

HEALTHY = Path(__file__).resolve().parents[1] / "zoo" / "healthy"
MARK = "hash of the end: "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="numbers of programs")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    files = [f for f in sorted(HEALTHY.glob("*.py")) if not options.only or f.name[:2] in options.only]
    kinds = {"alone": False, "again": False, "watched": True}
    jobs = (Job(f"{f.name} {kind}", partial(ended, str(f), full), 0) for f in files for kind, full in kinds.items())
    seen: dict[str, str | None] = {}
    for done in run(jobs, at_once=options.jobs, timeout=options.timeout):
        marks = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        seen[done.name] = marks[-1].removeprefix(MARK) if marks and done.exit in (0, 3) else None
        print(done.name, seen[done.name] or (done.stderr.strip() or "no output").splitlines()[-1], flush=True)
    result = judged({file.name: {kind: seen[f"{file.name} {kind}"] for kind in kinds} for file in files})
    print(json.dumps(result, indent=2))
    if options.save:
        save(
            "doctor_full",
            "Each program of zoo/healthy twice alone and once under doctor run --full, seed 0, one thread: hashes of "
            "stepped parameters, optimisers' states and torch's generator at the end. Bar: equal for all.",
            result,
        )


def judged(hashes: dict[str, dict[str, str | None]]) -> dict[str, Any]:
    """Names by what came out."""
    rows: dict[str, list[str]] = {"bit_equal": [], "different": [], "not_repeatable": [], "could_not_run": []}
    for name, found in hashes.items():
        if None in found.values():
            rows["could_not_run"].append(name)
        elif found["alone"] != found["again"]:
            rows["not_repeatable"].append(name)
        else:
            rows["bit_equal" if found["alone"] == found["watched"] else "different"].append(name)
    return {"counts": {key: len(names) for key, names in rows.items()}, **rows}


def ended(path: str, full: bool) -> int:
    """In a child: run the program, and print the hash of what it leaves."""
    torch.set_num_threads(1)
    optimizers: list[torch.optim.Optimizer] = []
    main_thread = threading.get_ident()

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        known = threading.get_ident() != main_thread or any(one is optimizer for one in optimizers)
        if not known and not of_the_doctor():
            optimizers.append(optimizer)

    register_optimizer_step_post_hook(note)
    if full:
        from truefit.doctor.script import run_script

        # Read right after the script: the checks' replays come later, and give all they change back.
        code = run_script(path, full=True).script_exit
    else:
        try:
            code = as_script(path)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    print(f"\n{MARK}{digest(optimizers)}")
    return code


def of_the_doctor() -> bool:
    """Whether a check is stepping a copy of its own, which is no optimiser of the program's."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if "/truefit/doctor/checks/" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def digest(optimizers: list[torch.optim.Optimizer]) -> str:
    """Over parameters and states, in the order of the optimisers' first steps, and torch's generator."""
    total = hashlib.blake2b(digest_size=16)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                tensors = [parameter, *(v for v in optimizer.state.get(parameter, {}).values() if torch.is_tensor(v))]
                for tensor in tensors:
                    plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
                    total.update(plain.numpy().tobytes())
    total.update(torch.default_generator.get_state().numpy().tobytes())
    return f"{total.hexdigest()} over {len(optimizers)} optimisers"


if __name__ == "__main__":
    main()
