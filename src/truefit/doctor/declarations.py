"""What the user states about a program, in a comment or with --declare: `# truefit: mc-dropout`.

    # truefit: ignore FIT308 (shards are shuffled on disk)
    # truefit: accumulate=4, frozen-batchnorm

`ignore` silences a code, with its reason. The other words are facts, which checks verify before they believe them.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import replace

from truefit.doctor.finding import Finding, Outcome
from truefit.doctor.log import Log
from truefit.errors import InputError, nearest

FACTS = {
    "accumulate": "gradients of this many batches are added up for a step (verified by FIT304)",
    "mc-dropout": "dropout stays on in evaluation on purpose (verified: BatchNorm does not)",
    "frozen": "layers left out of the optimiser are meant to stay as they are (verified: they do)",
    "frozen-batchnorm": "training runs in eval mode from its first step on purpose (verified: it never changes)",
    "curriculum": "the order of the training samples is on purpose (verified: it is the same in each pass)",
    "test-time-augmentation": "evaluation draws random transforms on purpose",
}
_IGNORE = re.compile(r"ignore\s+(FIT\d{3})\s*(?:\((.*)\)|:\s*(.*)|because\s+(.*))?$")


def parse_declarations(text: str, where: str) -> dict[str, str]:
    """The facts of one declaration: `{"accumulate": "4"}`, `{"FIT308": "reason"}`. Raises InputError for others."""
    text = text.strip()
    ignored = _IGNORE.match(text)
    if ignored:
        reason = next((part for part in ignored.groups()[1:] if part), "no reason given")
        return {ignored[1]: reason}
    facts = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name.strip() not in FACTS:
            raise InputError(f'unknown declaration "{name}"', where=where, fix=nearest(name, [*FACTS, "ignore FIT101"]))
        facts[name.strip()] = value.strip()
    return facts


def declarations_in(source: str, file: str) -> dict[str, str]:
    """All declarations in the comments of a Python source."""
    facts: dict[str, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and (found := re.match(r"#\s*truefit:\s*(.+)", token.string)):
                facts |= parse_declarations(found[1], f"{file}:{token.start[0]}")
    except (tokenize.TokenError, IndentationError):
        pass  # The script's own error tells more.
    return facts


def apply_declarations(findings: Iterable[Finding], log: Log) -> list[Finding]:
    """Findings whose code the user ignores become *not applicable*, with the user's reason."""
    return [
        replace(finding, outcome=Outcome.NOT_APPLICABLE, reason=f"silenced: {log.declared[finding.code]}")
        if finding.speaks and finding.code in log.declared
        else finding
        for finding in findings
    ]
