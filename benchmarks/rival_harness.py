"""Shows unchanged training scripts to another checker, and prints what it says as JSON, a line a script.

    python benchmarks/rival_harness.py TOOL [--jobs 2] [--timeout 60] < programs.json

programs.json is a list of {"name", "script", "seed"}. Each script runs in a process of its own, forked from this one,
which has imported torch and the tool.

mldoct reads source, so it gets the file. torchtest2 and torch-audit want objects (network, optimiser, batch, targets,
loss) that a script keeps to itself: here the script runs unchanged, the first optimiser step is caught, and the tool
is handed what that step used. torchtest2 then checks once, with its defaults; torch-audit watches every step from
there to the end of the script. Run this with a Python in which the tool is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import Job, run

LOSSES = (
    "cross_entropy",
    "nll_loss",
    "mse_loss",
    "smooth_l1_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)


class FirstStep:
    """Catches network, inputs, loss function and targets of the first optimiser step, and calls `then` with them."""

    def __init__(self, then: Callable[..., None]) -> None:
        import torch
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        self.network: Any = None
        self.inputs: Any = None
        self.loss: Any = None
        self.targets: Any = None
        self.depth = 0
        self.done = False
        call = torch.nn.Module.__call__

        def watched(module: Any, *args: Any, **kwargs: Any) -> Any:
            outermost = self.depth == 0 and torch.is_grad_enabled() and not self.done
            if outermost and args and next(module.parameters(), None) is not None:
                self.network, self.inputs = module, args[0]
            self.depth += 1
            try:
                return call(module, *args, **kwargs)
            finally:
                self.depth -= 1

        torch.nn.Module.__call__ = watched  # type: ignore[method-assign, assignment]
        for name in LOSSES:
            setattr(torch.nn.functional, name, self._watch_loss(getattr(torch.nn.functional, name)))

        def before_step(optimizer: Any, *_: Any) -> None:
            if not self.done and self.network is not None and self.loss is not None:
                self.done = True
                then(self.network, optimizer, self.inputs, self.targets, self.loss)

        register_optimizer_step_pre_hook(before_step)

    def _watch_loss(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(output: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.done:
                self.targets = target
                self.loss = lambda o, t: function(o, t, *args, **kwargs)
            return function(output, target, *args, **kwargs)

        return watched


def run_script(script: str) -> None:
    """Run the script as the main program; what it raises or where it exits is its own matter."""
    sys.argv = [script]
    with contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")


def torchtest2(script: str) -> list[str]:
    """Names of the checks that ended in FAIL or WARN."""
    from torchtest2 import check_model

    alarms: list[str] = []

    def check(network: Any, optimizer: Any, inputs: Any, targets: Any, loss: Any) -> None:
        report = check_model(network, inputs, targets, loss_fn=loss, optimizer=optimizer)
        alarms.extend(result.name for result in report.results if str(result.status) in ("FAIL", "WARN"))

    FirstStep(check)
    run_script(script)
    return sorted(set(alarms))


def torch_audit(script: str) -> list[str]:
    """Rules with a finding of severity WARN or higher."""
    from torch_audit import autopatch

    auditors: list[Any] = []

    def watch(network: Any, optimizer: Any, *_: Any) -> None:
        auditors.append(autopatch(network, optimizer=optimizer, every_n_steps=1, reporters=[]))

    FirstStep(watch)
    run_script(script)
    alarms = set()
    for auditor in auditors:
        for finding in auditor.finish(report=False).findings:
            if str(getattr(finding.severity, "name", finding.severity)).upper() != "INFO":
                alarms.add(finding.rule_id)
    return sorted(alarms)


def mldoct(script: str) -> list[str]:
    """Kinds of findings of `mldoctor check` that are more than an INFO."""
    from mldoctor.linter import lint_script

    findings, _ = lint_script(script)
    return sorted({str(f.get("type", f["message"])) for f in findings if f["severity"] != "INFO"})


TOOLS = {"torchtest2": torchtest2, "torch-audit": torch_audit, "mldoct": mldoct}


IMPORTS = {"torchtest2": "torchtest2", "torch-audit": "torch_audit", "mldoct": "mldoctor.linter"}


def main() -> int:
    """Print {"name", "cell"} for each program, as doctor_matrix.py keeps them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a program")
    args = parser.parse_args()
    if args.tool != "mldoct":
        import torch  # noqa: F401
    importlib.import_module(IMPORTS[args.tool])

    def job(entry: dict[str, Any]) -> Job:
        def look() -> int:
            sys.path.insert(0, str(Path(entry["script"]).parent))
            print("\n" + json.dumps({"alarms": TOOLS[args.tool](entry["script"])}), flush=True)
            return 0

        return Job(entry["name"], look, entry["seed"])

    for done in run(map(job, json.load(sys.stdin)), at_once=args.jobs, timeout=args.timeout):
        cell: dict[str, Any] = {"cpu_seconds": done.cpu_seconds, "exit": done.exit}
        last = (done.stdout.strip().splitlines() or [""])[-1]
        if not done.in_time:
            cell = {"error": f"more than {args.timeout:.0f} s"}
        elif not last.startswith('{"alarms"'):
            cell["error"] = (done.stderr or done.stdout)[-500:]
        else:
            cell["alarms"] = [{"code": name} for name in json.loads(last)["alarms"]]
        print(json.dumps({"name": done.name, "cell": cell}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
