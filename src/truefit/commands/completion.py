"""`truefit completion bash|zsh|fish`: what the shell needs to complete commands and options."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from truefit.commands.arguments import options_in, parse

BASH = """\
_truefit() {
    local words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="%s --help --version"
    else
        case "${COMP_WORDS[1]} ${COMP_WORDS[2]}" in
%s
        esac
        # Without a dash a file is more likely meant than an option.
        case "${COMP_WORDS[COMP_CWORD]}" in
            -*) ;;
            *) words="${words%%%%--*}"; [ "$COMP_CWORD" -eq 2 ] || words="" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o bashdefault -o default -F _truefit truefit
"""
ZSH = """\
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""


@dataclass(frozen=True, kw_only=True)
class CompletionCommand:
    """Print what makes the shell complete commands and options. For bash: truefit completion bash >
    ~/.local/share/bash-completion/completions/truefit. For fish: truefit completion fish >
    ~/.config/fish/completions/truefit.fish. For zsh, in ~/.zshrc: source <(truefit completion zsh)."""

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
    """For which shell."""


def main(arguments: Sequence[str]) -> int:
    """Parse, print."""
    command = parse(CompletionCommand, "completion", arguments)
    table = words_of_commands()
    if command.shell == "fish":
        print(_fish(table), end="")
    else:
        print((ZSH if command.shell == "zsh" else "") + _bash(table), end="")
    return 0


def words_of_commands() -> dict[str, tuple[list[str], list[str]]]:
    """`train`, `runs`, `runs rm` ... -> the words that may follow it, and its options, as its help tells them."""
    from truefit.commands import COMMANDS, doctor

    checks = sorted(info.name for info in pkgutil.iter_modules(doctor.__path__))
    following = {
        "doctor": checks,
        "runs": ["rm"],
        "recipe": ["list", "show"],
        "cache": ["ls", "rm"],
        "completion": ["bash", "zsh", "fish"],
    }
    below = ["runs rm", *(f"doctor {name}" for name in checks)]
    return {name: (following.get(name, []), _options(name)) for name in [*below, *COMMANDS]}


def _options(name: str) -> list[str]:
    from truefit.commands import main as truefit

    return sorted(options_in(lambda: truefit([*name.split(), "--help"])) | {"--help"})


def _bash(table: dict[str, tuple[list[str], list[str]]]) -> str:
    from truefit.commands import COMMANDS

    rows = []
    for name, (following, options) in table.items():
        pattern = f'"{name}"' if " " in name else f'"{name} "*'
        rows.append(f'            {pattern}) words="{" ".join([*following, *options])}" ;;')
    return BASH % (" ".join(COMMANDS), "\n".join(rows))


def _fish(table: dict[str, tuple[list[str], list[str]]]) -> str:
    from truefit.commands import COMMANDS

    lines = []
    for name, about in COMMANDS.items():
        quoted = about.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c truefit -n __fish_use_subcommand -a {name} -d '{quoted}'")
    for name, (following, options) in table.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        if following:
            lines.append(f"complete -c truefit -n '{seen}' -a '{' '.join(following)}'")
        lines += [f"complete -c truefit -n '{seen}' -l {option.removeprefix('--')}" for option in options]
    return "\n".join(lines) + "\n"
