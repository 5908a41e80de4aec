"""Detections and false alarms of the doctor, and of others, over all programs in zoo/.

    python benchmarks/doctor_matrix.py [--only 01 02 healthy/15] [--seeds 0 1 2] [--jobs 2] [--full]
                                       [--rival torchtest2=/path/to/python ...] [--save]

Each cell (tool, program, seed) is one process, forked from one that has imported torch. Cells are kept in the file
--cells and are not run again while program, tool and, for truefit, its source stand as they were, so the run can be
stopped and continued.
A rival is named with the Python it is installed in; see rival_harness.py for how each gets to see a script.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch: one thread each, in this process and in all that it forks.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ |= {"MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1", "TQDM_DISABLE": "1"}

import torchvision  # noqa: E402, F401  programs find what they import ready
from forked import Done, Job, as_script, run  # noqa: E402
from protocol import save  # noqa: E402

import truefit.doctor.checks  # noqa: E402
import truefit.doctor.script  # noqa: E402
import truefit.doctor.watch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "zoo"
HARNESS = Path(__file__).with_name("rival_harness.py")
PROTOCOL = (
    "Every program of zoo/ with each seed (environment variable SEED), in a process of its own with one thread, "
    "forked from one that has imported torch, torchvision and the doctor; CPU seconds leave these imports out. For "
    "truefit, an alarm is a finding with outcome fail or warn. Detected: the buggy program gets an alarm with a code "
    "that bug.toml expects; located: the alarm also names a line that bug.toml lists. Wrong code: an alarm on the "
    "buggy program with a code that bug.toml lists neither under codes nor under also. False alarm: any alarm on a "
    "fixed twin or a healthy program. Odd-numbered twins were there when rules were written, even-numbered ones are "
    "held out. Added seconds: CPU time under the tool minus CPU time alone, with the first seed. Rivals have other "
    "codes and name no line, so theirs is the milder rule 'the buggy program gets an alarm that its fixed twin does "
    "not'; the same figure is given for truefit as told_apart. torchtest2 and torch-audit can't look at a script by "
    "themselves: rival_harness.py hands them what the script's first optimiser step used. A rival without a Python in "
    "which it is installed is listed as not run."
)


@dataclass(frozen=True)
class Program:
    """One runnable file; `codes`, `also` and `lines` are empty where it is healthy."""

    path: Path
    kind: str
    codes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Path below zoo/, such as twins/01-mlp-softmax-layer/buggy.py."""
        return self.path.relative_to(ZOO).as_posix()


def programs() -> list[Program]:
    """All programs, twins first."""
    found = []
    for folder in sorted((ZOO / "twins").iterdir()):
        bug = tomllib.loads((folder / "bug.toml").read_text(encoding="utf-8"))
        lines = tuple(where["line"] for where in bug["where"])
        found.append(Program(folder / "buggy.py", "buggy", tuple(bug["codes"]), tuple(bug.get("also", ())), lines))
        found.append(Program(folder / "fixed.py", "fixed"))
    found += [Program(path, "healthy") for path in sorted((ZOO / "healthy").glob("*.py"))]
    return found


def missing_packages(program: Program) -> list[str]:
    """Top-level packages that the program imports and that are not installed here."""
    names = set()
    for node in ast.walk(ast.parse(program.path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return sorted(name for name in names if importlib.util.find_spec(name) is None)


def source_of(tool: str) -> str:
    """Digest of what decides a tool's answer besides the program: our own source, or the harness."""
    if tool == "alone":
        return ""
    files = sorted((ROOT / "src" / "truefit").rglob("*.py")) if tool.startswith("truefit") else [HARNESS]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def last_json(text: str) -> dict[str, Any] | None:
    """The last JSON object in `text` that has "schema" or "alarms"; None without one."""
    decoder = json.JSONDecoder()
    for match in reversed(list(re.finditer(r'\{\s*"(?:schema|alarms)"', text))):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError:
            continue
        return dict(found)
    return None


def job_of(tool: str, program: Program, seed: int, full: bool) -> Job:
    """The cell (tool, program, seed) as a job: the program alone, or under `truefit doctor run`."""
    script = str(program.path)

    def alone() -> int:
        return as_script(script)

    def doctor() -> int:
        from truefit.commands import main as command

        return command(["doctor", "run", "--json", *(["--full"] if full else []), script])

    return Job(f"{tool}|{program.name}|{seed}", alone if tool == "alone" else doctor, seed)


def cell_of(done: Done, timeout: float) -> dict[str, Any]:
    """{"cpu_seconds", "exit", "alarms"} or, where that failed, "error"."""
    if not done.in_time:
        return {"error": f"more than {timeout:.0f} s"}
    cell: dict[str, Any] = {"cpu_seconds": done.cpu_seconds, "exit": done.exit}
    if done.name.startswith("alone|"):
        return cell if done.exit == 0 else {**cell, "error": done.stderr[-500:]}
    said = last_json(done.stdout)
    if said is None:
        return {**cell, "error": (done.stderr or done.stdout)[-500:]}
    cell["alarms"] = [
        {"code": f["code"], "outcome": f["outcome"], "file": Path(where.get("file") or "").name, "line": where["line"]}
        for f in said["findings"]
        if f["outcome"] in ("fail", "warn")
        for where in [f.get("where") or {"line": None}]
    ]
    return cell


def rival_cells(
    tool: str, python: str, todo: list[tuple[Program, int]], at_once: int, timeout: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """All cells of a rival: its own Python forks a process for each, see rival_harness.py."""
    if not todo:
        return
    wanted = [{"name": f"{tool}|{p.name}|{seed}", "script": str(p.path), "seed": seed} for p, seed in todo]
    command = [python, str(HARNESS), tool, "--jobs", str(at_once), "--timeout", str(timeout)]
    environment = {**os.environ, "PYTHONPATH": ""}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(wanted))
        process.stdin.close()
        for line in process.stdout:
            answer = json.loads(line)
            yield answer["name"], answer["cell"]


def judge(program: Program, cell: dict[str, Any]) -> dict[str, Any]:
    """What one truefit cell is worth."""
    alarms = cell["alarms"]
    right = [a for a in alarms if a["code"] in program.codes]
    return {
        "detected": bool(right),
        "located": any(a.get("file") == program.path.name and a.get("line") in program.lines for a in right),
        "wrong": sorted({a["code"] for a in alarms if a["code"] not in program.codes + program.also}),
    }


def rate(hits: int, of: int) -> str:
    """A count as text, such as 41/50."""
    return f"{hits}/{of}"


def summarise(
    tool: str, cells: dict[str, dict[str, Any]], all_programs: list[Program], seeds: list[int]
) -> dict[str, Any]:
    """The tool's row: counts over (program, seed), odd and even twins apart, and every alarm that was wrong."""

    def cell(program: Program, seed: int, of: str = tool) -> dict[str, Any] | None:
        found = cells.get(f"{of}|{program.name}|{seed}")
        return found if found and "error" not in found else None

    by_name = {program.name: program for program in all_programs}
    row: dict[str, Any] = {}
    for parity in ("odd", "even"):
        n = detected = located = apart = 0
        missed: list[str] = []
        for program in all_programs:
            if program.kind != "buggy" or (int(program.path.parent.name[:2]) % 2 == 1) != (parity == "odd"):
                continue
            for seed in seeds:
                buggy, fixed = cell(program, seed), cell(by_name[program.name.replace("buggy", "fixed")], seed)
                if buggy is None or fixed is None:
                    continue
                n += 1
                verdict = judge(program, buggy)
                detected, located = detected + verdict["detected"], located + verdict["located"]
                apart += bool({a["code"] for a in buggy["alarms"]} - {a["code"] for a in fixed["alarms"]})
                if not verdict["detected"]:
                    missed.append(f"{program.path.parent.name} seed {seed}: {' '.join(program.codes)}")
        row[f"{parity}_told_apart"] = rate(apart, n)
        if tool == "truefit":
            row |= {
                f"{parity}_detected": rate(detected, n),
                f"{parity}_located": rate(located, n),
                f"{parity}_missed": missed,
            }
    alarms, wrong, added, errors, shown = [], [], [], [], {"fixed": 0, "healthy": 0}
    for program in all_programs:
        for seed in seeds:
            raw = cells.get(f"{tool}|{program.name}|{seed}")
            if raw is None:
                continue
            if "error" in raw:
                reason = raw["error"].strip().splitlines() or ["no output"]
                errors.append(f"{program.name} seed {seed}: {reason[-1][:160]}")
                continue
            alone = cell(program, seed, "alone")
            if alone:
                added.append(raw["cpu_seconds"] - alone["cpu_seconds"])
            if program.kind != "buggy":
                shown[program.kind] += 1
                if raw["alarms"]:
                    alarms.append(f"{program.name} seed {seed}: {' '.join(sorted({a['code'] for a in raw['alarms']}))}")
            elif tool == "truefit" and judge(program, raw)["wrong"]:
                wrong.append(f"{program.name} seed {seed}: {' '.join(judge(program, raw)['wrong'])}")
    for kind in ("fixed", "healthy"):
        row[f"{kind}_with_false_alarm"] = rate(
            sum(a.split("/")[-1].startswith("fixed") == (kind == "fixed") for a in alarms), shown[kind]
        )
    row |= {"false_alarms": alarms, "wrong_codes": wrong, "could_not_run": errors}
    if added:
        row["added_cpu_seconds_median"] = round(statistics.median(added), 2)
        row["added_cpu_seconds_max"] = round(max(added), 2)
    return row


def main() -> None:
    """Run what is missing, print the matrix, and with --save write results/doctor_matrix[_full][_rivals].json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="numbers of twins, or parts of a program's path")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds a process")
    parser.add_argument(
        "--no-alone", action="store_true", help="don't run the programs alone too (with the first seed)"
    )
    parser.add_argument("--full", action="store_true", help="pass --full to the doctor")
    parser.add_argument("--rival", nargs="*", default=[], metavar="TOOL=PYTHON")
    parser.add_argument("--cells", type=Path, default=Path.home() / ".cache" / "truefit" / "doctor_matrix.jsonl")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()

    rivals = dict(entry.split("=", 1) for entry in args.rival)
    pythons = {"alone": sys.executable, "truefit": sys.executable, **rivals}
    chosen = [
        p
        for p in programs()
        if not args.only or any(p.name.startswith(f"twins/{o}-") or ("/" in o and o in p.name) for o in args.only)
    ]
    # Each process finds them imported.
    truefit.doctor.checks.all_checks()
    with truefit.doctor.watch.Watch():
        pass
    absent = {p.name: m for p in chosen if (m := missing_packages(p))}
    args.cells.parent.mkdir(parents=True, exist_ok=True)
    known = {}
    if args.cells.is_file():
        for line in args.cells.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            known[entry["key"]] = entry["cell"]
    sources = {tool: source_of(tool) for tool in pythons}
    cells: dict[str, dict[str, Any]] = {}
    keys: dict[str, str] = {}
    todo: list[tuple[str, Program, int]] = []
    for program in chosen:
        if program.name in absent:
            continue
        digest = hashlib.sha256(program.path.read_bytes()).hexdigest()[:16]
        for seed in args.seeds:
            for tool in pythons:
                if tool == "alone" and (args.no_alone or seed != args.seeds[0]):
                    continue
                name = f"{tool}|{program.name}|{seed}"
                key = f"{name}|{digest}|{sources[tool]}|{args.full and tool == 'truefit'}"
                if key in known:
                    cells[name] = known[key]
                else:
                    keys[name] = key
                    todo.append((tool, program, seed))

    written = args.cells.open("a", encoding="utf-8")
    count = 0

    def keep(name: str, cell: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        cells[name] = cell
        written.write(json.dumps({"key": keys[name], "cell": cell}) + "\n")
        written.flush()
        said = cell.get("error") or " ".join(a["code"] for a in cell.get("alarms", []))
        print(f"[{count}/{len(keys)}] {name} {cell.get('cpu_seconds', '-')} s {said[-120:]!r}", flush=True)

    begin = time.monotonic()
    with written:
        own = [job_of(tool, program, seed, args.full) for tool, program, seed in todo if tool not in rivals]
        for done in run(own, at_once=args.jobs, timeout=args.timeout):
            keep(done.name, cell_of(done, args.timeout))
        for rival, python in rivals.items():
            theirs = [(program, seed) for tool, program, seed in todo if tool == rival]
            for name, cell in rival_cells(rival, python, theirs, args.jobs, args.timeout):
                keep(name, cell)
    print(f"{count} cells in {time.monotonic() - begin:.0f} s")

    not_run = {"trainlint": "no such package on the index (asked for by that name)"}
    not_run |= {
        tool: "no Python given in which it is installed"
        for tool in ("torchtest2", "torch-audit", "mldoct")
        if tool not in rivals
    }
    result = {
        "full": args.full,
        "seeds": args.seeds,
        "programs": {kind: sum(p.kind == kind for p in chosen) for kind in ("buggy", "fixed", "healthy")},
        "not_run": {name: f"package missing: {' '.join(packages)}" for name, packages in absent.items()} | not_run,
        "tools": {tool: summarise(tool, cells, chosen, args.seeds) for tool in pythons if tool != "alone"},
    }
    print(json.dumps(result, indent=2))
    if args.save:
        save("doctor_matrix" + "_full" * args.full + "_rivals" * bool(rivals), PROTOCOL, result)


if __name__ == "__main__":
    main()
