"""`truefit doctor explain FIT101`: print the page of a code: what it means, how it is decided, how to mend it."""

from __future__ import annotations

from collections.abc import Sequence

from truefit.doctor.explain import codes, page
from truefit.errors import InputError


def main(arguments: Sequence[str]) -> int:
    """Print the page of each code, or the list of codes."""
    if any(word in ("-h", "--help") for word in arguments):
        print("usage: truefit doctor explain [CODE ...]\n\nPrints the page of a code; without one lists them.")
        return 0
    if not arguments:
        print("\n".join(f"{code}  {page(code).partition(chr(10))[0].removeprefix('# ')}" for code in codes()))
        return 0
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(width=min(Console().width, 100))
    for word in arguments:
        if word.startswith("-"):
            raise InputError(f'unknown option "{word}"', where="truefit doctor explain")
        code = word.upper()
        text = page(code).replace("# ", f"# {code} ", 1)
        # What is piped on stays Markdown.
        console.print(Markdown(text)) if console.is_terminal else print(text)
    return 0
