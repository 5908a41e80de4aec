"""What is public stays as it is, unless it is changed on purpose."""

from __future__ import annotations

import difflib

from public import HOW, SNAPSHOT, surface


def test_public_surface_is_the_one_that_is_written_down():
    written, found = SNAPSHOT.read_text(encoding="utf-8"), surface()
    lines = difflib.unified_diff(written.splitlines(), found.splitlines(), "surface.txt", "now", lineterm="", n=1)
    changed = "\n".join(lines)
    assert not changed, (
        f"what is public has changed:\n{changed}\n\n"
        f"If that is the purpose: {HOW}, commit surface.txt, and tell users in CHANGELOG.md what docs/en/versioning.md "
        "promises them."
    )
