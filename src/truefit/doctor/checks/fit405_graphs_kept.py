"""The graphs of past batches stay alive: a sum or a list of loss tensors, and memory that only grows."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Backward, Log
from truefit.doctor.rule import Rule
from truefit.doctor.source import keeps_graph

RULE = Rule(
    "FIT405",
    "graphs-kept",
    "numerics",
    Severity.WARN,
    "A batch's graph is gone before the next batch but one; sums and lists hold numbers.",
)
ALIVE, LEAST = 15, 3


def check(log: Log) -> Finding:
    backwards = list(log.all(Backward))
    if len(backwards) <= ALIVE:
        return RULE.not_applicable(f"at most {ALIVE} losses were seen")
    kept = [one for one in backwards if one.graphs_alive >= ALIVE]
    if len(kept) >= LEAST:
        found = keeps_graph(kept[0].where)
        return RULE.warn(
            "The graphs of all past losses are kept alive: memory grows with every batch.",
            where=found or kept[0].where,
            numbers={
                "graphs alive of the last 16": max(one.graphs_alive for one in kept),
                "warned from": ALIVE,
                "backwards at which it was so": len(kept),
            },
            fix="running_loss += loss.item()  # or loss.detach(), which does not wait for a GPU",
        )
    alive = max(one.graphs_alive for one in backwards)
    return RULE.ok("Graphs are freed batch by batch.", numbers={"alive at most": alive, "of": 16})
