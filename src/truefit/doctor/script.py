"""Runs a person's own, unchanged script (or module, or notebook) under observation, in this process."""

from __future__ import annotations

import importlib.util
import json
import linecache
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from truefit.doctor.children import hand_backs, merged
from truefit.doctor.declarations import declarations_in, parse_declarations
from truefit.doctor.finding import Finding
from truefit.doctor.log import Log
from truefit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What came of it. script_exit: the script's own exit code (0 where the doctor ended it). notes: sentences about
    how the run differed from an unwatched one."""

    findings: list[Finding]
    script_exit: int
    seconds: float
    cut: bool
    notes: list[str] = field(default_factory=list)
    log: Log


def run_script(
    target: str,
    arguments: Sequence[str] = (),
    *,
    module: bool = False,
    full: bool = False,
    steps: int = 20,
    seconds: float = 60.0,
    declare: Sequence[str] = (),
) -> Watched:
    """Run a script, notebook or (module=True) module, and check what was observed.

    full: leave the computation untouched. Else each pass over a DataLoader ends after `steps` batches, and the script
    after three passes that train, or `seconds` after its first step; files that it writes with torch.save replace
    none, and are not kept. Raises InputError where the target can't be read.
    """
    program = _Program.of(target, module)
    from truefit.doctor.checks import run_checks
    from truefit.doctor.watch import Ended, Limits, Watch

    log = Log(declared=dict(program.declared))
    for text in declare:
        log.declared |= parse_declarations(text, "--declare")
    begin = time.perf_counter()
    notes: list[str] = []
    with ExitStack() as stack:
        scratch = None
        if not full:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="truefit-doctor-")))
        stack.enter_context(_as_main(program, arguments))
        children = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="truefit-doctor-")))
        limits = None if full else Limits(steps=steps, seconds=seconds)
        watch = Watch(log, limits=limits, scratch=scratch, children=children)
        code = 0
        with watch:
            try:
                program.execute()
            except Ended:
                log.cut = True
            except SystemExit as end:
                code = _exit_status(end)
            except KeyboardInterrupt:
                code = 130
            except BaseException as error:
                _print_traceback(error)
                code = 1
        log.ranks = hand_backs(children)
        log.cut = log.cut or any(one.cut for one in log.ranks)
        if log.cut:
            notes.append(
                f"cut short: passes end after {steps} batches, the script after 3 passes that train; "
                "--full watches it whole"
            )
        if watch.redirected:
            notes.append(f"saved files are not kept: {watch.redirected[0]}, in all {len(watch.redirected)} times")
        findings = merged(run_checks(log), log.ranks)
    return Watched(
        findings=findings,
        script_exit=code,
        seconds=round(time.perf_counter() - begin, 3),
        cut=log.cut,
        notes=notes,
        log=log,
    )


@dataclass(frozen=True)
class _Program:
    """Code objects to be run one after the other as `__main__`."""

    path: str
    search: str
    codes: list[Any]
    declared: dict[str, str]
    spec: Any = None

    @classmethod
    def of(cls, target: str, module: bool) -> _Program:
        if module:
            return cls._of_module(target)
        path = Path(target)
        if path.is_dir() and (path / "__main__.py").is_file():
            return cls._of_source(path / "__main__.py", search=str(path))
        try:
            source = path.read_bytes()
        except OSError as error:
            raise InputError("the script can't be read", where=target, found=error.strerror) from None
        if path.suffix == ".ipynb":
            return cls._of_notebook(path, source)
        return cls._of_source(path, search=str(path.resolve().parent))

    @classmethod
    def _of_source(cls, path: Path, *, search: str, spec: Any = None) -> _Program:
        data = path.read_bytes()
        try:
            code = compile(data, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise InputError("the script is not Python", where=path, found=error) from None
        text = importlib.util.decode_source(data)
        return cls(str(path), search, [code], declarations_in(text, str(path)), spec)

    @classmethod
    def _of_module(cls, name: str) -> _Program:
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{name}.__main__")
        except (ImportError, ValueError) as error:
            raise InputError("the module can't be found", where=name, found=error) from None
        finally:
            sys.path.remove(here)
        if spec is None or spec.origin is None:
            raise InputError("the module can't be found", where=name, wanted="what python -m would run")
        return cls._of_source(Path(spec.origin), search=here, spec=spec)

    @classmethod
    def _of_notebook(cls, path: Path, data: bytes) -> _Program:
        try:
            cells = json.loads(data)["cells"]
            sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("the notebook can't be read", where=path, found=error, wanted="nbformat 4") from None
        codes: list[Any] = []
        declared: dict[str, str] = {}
        for number, source in enumerate(sources, 1):
            text = source if isinstance(source, str) else "".join(source)
            # Lines for IPython or the shell are left out; the numbers of the others stay.
            lines = ["pass" if line.lstrip()[:1] in ("%", "!") else line for line in text.splitlines()]
            lines = [line[: len(line) - len(line.lstrip())] + line.lstrip() for line in lines]
            text = "\n".join(lines) + "\n"
            name = f"{path}[cell {number}]"
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            try:
                codes.append(compile(text, name, "exec", dont_inherit=True))
            except SyntaxError as error:
                raise InputError("a cell is not Python", where=name, found=error) from None
            declared |= declarations_in(text, name)
        return cls(str(path), str(path.resolve().parent), codes, declared)

    def execute(self) -> None:
        namespace = vars(sys.modules["__main__"])
        for code in self.codes:
            exec(code, namespace)


@contextmanager
def _as_main(program: _Program, arguments: Sequence[str]) -> Iterator[None]:
    """sys.argv, sys.path[0] and `__main__` as Python itself would have them for this program."""
    main = ModuleType("__main__")
    main.__file__ = program.path
    main.__dict__.update(__builtins__=__builtins__, __spec__=program.spec, __cached__=None)
    main.__package__ = program.spec.parent if program.spec is not None else None
    if program.path.endswith(".ipynb"):
        main.__dict__["display"] = print
    before = sys.argv, list(sys.path), sys.modules["__main__"]
    sys.argv = [program.path, *arguments]
    sys.path[0:1] = [program.search]
    sys.modules["__main__"] = main
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before


def _exit_status(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code
    print(end.code, file=sys.stderr)
    return 1


def _print_traceback(error: BaseException) -> None:
    """As Python prints it, without the frames of the doctor."""
    trace = error.__traceback__
    while trace is not None and Path(trace.tb_frame.f_code.co_filename) == Path(__file__):
        trace = trace.tb_next
    traceback.print_exception(error.with_traceback(trace))
