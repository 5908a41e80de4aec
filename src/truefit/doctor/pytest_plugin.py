"""A pytest plugin: `def test_training(doctor): ...` runs the test under observation, and fails with what it finds.

    def test_training(doctor):
        train(epochs=2)                    # your own training, watched

    def test_model(doctor):
        doctor.check(model, loss, training_set=data)

Nothing of torch is imported until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from truefit.doctor.dry_run import Checkup
    from truefit.doctor.finding import Finding

KEY = pytest.StashKey["Doctor"]()


class Doctor:
    """What a test gets. `strict`: warnings fail the test, too. `findings`: those of the whole test, once it is over."""

    def __init__(self, declared: dict[str, str]) -> None:
        from truefit.doctor.log import Log
        from truefit.doctor.watch import Watch

        self.strict = False
        self.findings: list[Finding] = []
        self.log = Log(declared=declared)
        self.watch = Watch(self.log)

    def declare(self, fact: str) -> None:
        """State a fact, as a comment `# truefit: ...` in the test's file does: "ignore FIT308 (why)"."""
        from truefit.doctor.declarations import parse_declarations

        self.log.declared |= parse_declarations(fact, "doctor.declare")

    def check(self, model: Any, loss: Any, **options: Any) -> Checkup:
        """`truefit.doctor.check` with this test's declarations; the test fails where a check does."""
        from truefit.doctor import check

        watching, self.watch.on = self.watch.on, False
        try:
            checkup: Checkup = check(model, loss, **options)
        finally:
            self.watch.on = watching
        self.fail(checkup.findings)
        return checkup

    def examine(self) -> None:
        """Fail where the training that was watched so far has a fault."""
        from truefit.doctor.checks import run_checks
        from truefit.doctor.finding import worst_first

        if self.log.events:
            self.findings = worst_first(run_checks(self.log))
            self.fail(self.findings)

    def fail(self, findings: Sequence[Finding]) -> None:
        """Fail the test with all findings where one of them counts as a failure."""
        from truefit.doctor.finding import exit_code
        from truefit.doctor.report import describe

        if exit_code(findings, strict=self.strict):
            spoken = [
                f"{one.outcome.value.upper()} {one.code} {one.name}\n{describe(one)}" for one in findings if one.speaks
            ]
            pytest.fail("\n\n".join(["truefit doctor", *spoken]), pytrace=False)


@pytest.fixture
def doctor(request: pytest.FixtureRequest) -> Doctor:
    """Watches this test's training, and fails the test where it has a silent bug."""
    from truefit.doctor.declarations import declarations_in

    file = Path(request.node.path)
    made = Doctor(declarations_in(file.read_text(encoding="utf-8"), str(file)))
    request.node.stash[KEY] = made
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Watch the test itself, not its setup; a test that has failed by itself is left as it is."""
    doctor = item.stash.get(KEY, None)
    if doctor is None:
        return (yield)
    with doctor.watch:
        result = yield
    doctor.examine()
    return result
