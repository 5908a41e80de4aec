"""The checks. To add one: a file here with `RULE` and `check(log)`; nothing else changes.

`check` takes the Log of a watched program and returns one Finding, made with RULE.fail, warn, tip, ok,
not_applicable or not_run. Fail only what is proven by construction or by a replay; a figure outside a band warns.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from truefit.doctor.declarations import apply_declarations
from truefit.doctor.finding import Finding, Outcome
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule


def all_checks() -> list[ModuleType]:
    """Every module of this folder, by code."""
    return [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]


def run_checks(log: Log) -> list[Finding]:
    """One finding a check. A check that breaks says so as *not run*, and never ends the others."""
    found = []
    rules = {}
    for module in all_checks():
        rules[module.RULE.code] = module.RULE
        try:
            finding = module.check(log)
        except Exception as error:  # a check must never take a user's run down with it
            finding = module.RULE.not_run(f"the check itself broke: {type(error).__name__}: {error}")
        found.append(finding)
    found = apply_declarations(found, log)
    return [_first_cause(one, rules[one.code], found) for one in found]


def _first_cause(finding: Finding, rule: Rule, found: list[Finding]) -> Finding:
    """A finding that another one explains is not judged: one mistake, one message."""
    if not finding.speaks or not rule.follows_from:
        return finding
    loud = [one.code for one in found if one.outcome in (Outcome.FAIL, Outcome.WARN) and one.code != rule.code]
    causes = [code for code in loud if code.startswith(rule.follows_from)]
    if not causes:
        return finding
    return rule.not_run(f"it may follow from {causes[0]}: mend that first, then run again")
