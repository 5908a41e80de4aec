"""The public surface as text: names and signatures, commands with their options, fields of recipes and of files.

    python tests/surface/public.py --write      writes surface.txt anew, after a change on purpose

tests/surface/test_public.py compares. What [versioning.md](../../docs/en/versioning.md) promises is about these lines.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).with_name("surface.txt")
HOW = "python tests/surface/public.py --write"
# Keys of what differs from machine to machine: their values' kinds are left out.
OF_THE_MACHINE = ("versions", "commit", "hardware", "settings", "from")
CLASSES = ("red", "green")


def surface() -> str:
    """All of it; the same on every machine."""
    parts = {"Python": _python(), "Commands": _commands(), "Recipe": _recipe(), "Files of a run": _files()}
    text = f"What is public. A line changes on purpose only: {HOW}\n"
    for title, lines in parts.items():
        text += f"\n== {title} ==\n\n" + "".join(f"{line}\n" for line in lines)
    return text


def _python() -> Iterator[str]:
    import truefit
    import truefit.doctor

    for module in (truefit, truefit.doctor):
        for name in module.__all__:
            yield from _of(f"{module.__name__}.{name}", getattr(module, name))


def _of(name: str, thing: object) -> Iterator[str]:
    if inspect.isclass(thing):
        bases = [base.__name__ for base in thing.__mro__[1:] if base is not object]
        yield f"{name}{_signature(thing)}" + (f" <- {', '.join(bases)}" if bases else "")
        for member in sorted(vars(thing)):
            found = inspect.getattr_static(thing, member)
            if member.startswith("_"):
                continue
            if isinstance(found, property):
                yield f"  .{member}"
            elif isinstance(found, classmethod | staticmethod) or inspect.isfunction(found):
                yield f"  .{member}{_signature(getattr(thing, member))}"
    elif callable(thing):
        yield f"{name}{_signature(thing)}"
    else:
        yield name


def _signature(thing: Any) -> str:
    """`(a, b: int = 1)`; annotations as they are written, defaults that are functions by their names."""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return ""
    parameters = [
        parameter.replace(annotation=_written(parameter.annotation), default=_named(parameter.default))
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=_written(signature.return_annotation)))


def _written(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _named(default: Any) -> Any:
    return _Bare(default.__name__) if inspect.isfunction(default) else default


class _Bare(str):
    """A text that shows itself without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _commands() -> Iterator[str]:
    from truefit.commands import COMMANDS

    for name in COMMANDS:
        yield from _command(name)
        if name == "runs":
            yield from _command("runs", "rm")
        if name == "doctor":
            import truefit.commands.doctor as doctor

            for file in sorted(Path(doctor.__file__).parent.glob("[a-z]*.py")):
                yield from _command("doctor", file.stem)


def _command(*words: str) -> Iterator[str]:
    """A line for the command, one for each option: what tyro is asked for, else what the help says."""
    import tyro

    from truefit.commands import main

    asked: list[Any] = []
    original = tyro.cli

    def note(command: type[Any], **options: Any) -> None:
        del options["args"]
        asked.append((command, options))
        raise SystemExit(0)

    text = io.StringIO()
    tyro.cli = note
    try:
        with redirect_stdout(text), suppress(SystemExit):
            main([*words, "--help"])
    finally:
        tyro.cli = original
    if not asked:
        yield f"truefit {' '.join(words)}"
        for option in sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text.getvalue())) - {"-h", "--help"}):
            yield f"  {option}"
        return
    command, options = asked[0]
    with warnings.catch_warnings():
        # tyro has no other door to what a command takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        actions = tyro.extras.get_parser(command, **options)._actions
    places = [str(action.metavar) for action in actions if not action.option_strings]
    yield " ".join(["truefit", *words, *places])
    for action in actions:
        if action.option_strings and action.dest != "help":
            choices = "|".join(sorted(map(str, action.choices))) if action.choices else action.metavar
            yield "  " + ", ".join(action.option_strings) + (f" {choices}" if choices else "")


def _recipe() -> Iterator[str]:
    from truefit.recipes.lookup import recipe_names
    from truefit.recipes.recipe import Recipe

    yield "recipes: " + ", ".join(recipe_names())
    yield from _fields(Recipe(), "")


def _fields(settings: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}: {field.type} = {value!r}"


def _files() -> Iterator[str]:
    """Two seeds of a training so easy that all its figures exist: what is in its folders, and in their files."""
    import numpy as np
    from PIL import Image

    from truefit import Recipe, Trainer, load, load_data

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for at, name in enumerate(CLASSES):
            for number in range(20):
                place = folder / "data" / name / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng([at, number]).integers(0, 56, (24, 24, 3))
                Image.fromarray((noise + 200 * (np.arange(3) == at)).astype(np.uint8)).save(place)
        trainer = Trainer(recipe=Recipe(epochs=6), device="cpu", calibrate=True, observers=[lambda event: None])
        trainer.fit_seeds(folder / "data", seeds=2, out=folder / "seeds")
        run = folder / "seeds" / "seed-0"
        trainer.predictor = load(run).predictor
        trainer.evaluate(load_data(folder / "data").test).save(run / "evaluations" / "later")
        yield from _of_folder(folder / "seeds", leaving_out="seed-1")


def _of_folder(folder: Path, leaving_out: str) -> Iterator[str]:
    seen: dict[str, list[str]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.startswith(leaving_out):
            continue
        lines = list(_of_file(file))
        known = next((other for other, same in seen.items() if same == lines and len(lines) > 1), None)
        seen[name] = lines
        yield name + (f": as {known}" if known else "")
        yield from () if known else lines


def _of_file(file: Path) -> Iterator[str]:
    import numpy as np
    from safetensors import safe_open

    if file.suffix in (".json", ".jsonl"):
        text = file.read_text(encoding="utf-8")
        kinds: dict[str, set[str]] = {}
        for line in text.splitlines() if file.suffix == ".jsonl" else [text]:
            for key, kind in _keys(json.loads(line), ""):
                kinds.setdefault(key, set()).add(kind)
        for key, found in kinds.items():
            yield f"  {key}" + (f": {' or '.join(sorted(found - {''}))}" if found - {""} else "")
    elif file.suffix == ".npz":
        with np.load(file) as arrays:
            for key in sorted(arrays):
                kind = "text" if arrays[key].dtype.kind == "U" else arrays[key].dtype
                yield f"  {key}: {kind}, {arrays[key].ndim} dimensions"
    elif file.name == "golden.safetensors":
        with safe_open(file, "np") as tensors:
            yield from (f"  {key}" for key in sorted(tensors.keys()))


def _keys(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(`a.b`, "number") for all that is in a JSON value; the elements of a list are one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "schema":
                yield f"{path}schema", str(inner)
            elif path == "" and key in OF_THE_MACHINE:
                yield from ((name, "") for name, _ in _keys(inner, f"{key}."))
            else:
                yield from _keys(inner, f"{path}{key}.")
    elif isinstance(value, list):
        if not value:
            yield f"{path[:-1]}[]", ""
        for inner in value:
            yield from _keys(inner, f"{path[:-1]}[].")
    else:
        yield path[:-1], {str: "text", bool: "true or false", type(None): "null"}.get(type(value), "number")


def main() -> int:
    """Write the snapshot, or say how."""
    if sys.argv[1:] != ["--write"]:
        print(HOW)
        return 2
    SNAPSHOT.write_text(surface(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
