"""`truefit doctor run`: the script's own computation, its exit code, its errors, and what is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loops import LOOP, SETUP

from truefit.doctor.checks import all_checks
from truefit.doctor.explain import codes, page

TUTORIAL = Path(__file__).parent / "scripts" / "tutorial.py"
COMMAND = [sys.executable, "-c", "import sys; from truefit.commands import main; sys.exit(main())", "doctor", "run"]
SAVE = "\nimport sys\ntorch.save([model.state_dict(), torch.get_rng_state()], sys.argv[1])\n"


def call(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_tutorial_script_gets_its_findings_with_their_lines(tmp_path):
    done = call(*COMMAND, "--full", "--json", TUTORIAL, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1
    assert answer["script_exit"] == 0
    found = {one["code"]: one for one in answer["findings"] if one["outcome"] in ("fail", "warn", "tip")}
    lines = TUTORIAL.read_text().splitlines()
    wanted = {
        "FIT101": "loss = loss_function(",
        "FIT301": "loss = loss_function(",
        "FIT308": "training_loader = DataLoader(",
        "FIT309": "xavier_uniform_",
        "FIT604": "validation_loader = DataLoader(",
    }
    for code, text in wanted.items():
        where = found[code]["where"]
        assert where["file"] == str(TUTORIAL)
        assert text in lines[where["line"] - 1]
    assert "epoch 2" in found["FIT301"]["message"]
    assert not any("itself broke" in one["reason"] for one in answer["findings"])


@pytest.mark.parametrize("kind", ["loop", "augmented", "tutorial"])
def test_full_leaves_weights_and_generator_bit_equal(kind, tmp_path):
    script = tmp_path / "script.py"
    noisy = SETUP.replace("net(*tail):", "net(*tail):\n    torch.rand(3)")
    script.write_text(
        {"loop": SETUP + LOOP + SAVE, "augmented": noisy + LOOP.replace("momentum=0.9", "momentum=0") + SAVE}.get(
            kind, TUTORIAL.read_text()
        )
    )
    alone = call(sys.executable, script, "alone.pt", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    watched = call(*COMMAND, "--full", script, "watched.pt", cwd=tmp_path)
    assert watched.returncode in (0, 3), watched.stderr
    assert watched.stdout.startswith(alone.stdout)
    one, two = (torch.load(tmp_path / name) for name in ("alone.pt", "watched.pt"))
    pairs = [(one, two)] if isinstance(one, dict) else [(one[0], two[0]), ({"rng": one[1]}, {"rng": two[1]})]
    for left, right in pairs:
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_script_is_cut_and_its_files_are_kept_apart(watched, tmp_path):
    text = (SETUP + LOOP).replace("range(2)", "range(50)") + f"\ntorch.save(model, {str(tmp_path / 'model.pt')!r})\n"
    each = text.replace(
        "    model.eval()", f"    torch.save(model.state_dict(), {str(tmp_path / 'each.pt')!r})\n    model.eval()"
    )
    done = watched(each, full=False, steps=4)
    assert done.cut
    assert [one.batches for one in done.log.passes if one.trains] == [4, 4, 4]
    assert not (tmp_path / "each.pt").exists()
    assert any("each.pt" in note for note in done.notes)
    outcomes = {one.code: one.outcome.value for one in done.findings}
    assert outcomes["FIT602"] == "not run"
    assert "fail" not in outcomes.values()


def test_saved_files_can_be_renamed_and_copied_and_replace_nothing(watched, tmp_path):
    (tmp_path / "best.pt").write_text("the user's")
    (tmp_path / "last.pt").write_text("the user's")
    more = f"""
import os, shutil
os.chdir({str(tmp_path)!r})
for _ in range(2):
    torch.save(model.state_dict(), "part.tmp")
    assert os.path.getsize("part.tmp")
    os.replace("part.tmp", "best.pt")
    torch.save(model.state_dict(), "last.pt")
    shutil.copyfile("last.pt", "copy.pt")
    shutil.copyfile("last.pt", "best.pt")
    assert len(torch.load("best.pt")) == len(torch.load("copy.pt")) == len(model.state_dict())
"""
    done = watched(SETUP + LOOP + more, full=False)
    assert done.script_exit == 0
    assert {path.name: path.read_text() for path in tmp_path.glob("*.pt")} == dict.fromkeys(
        ("best.pt", "last.pt"), "the user's"
    )
    assert not (tmp_path / "part.tmp").exists()


def test_counted_loop_with_next_is_not_broken_by_the_cut(watched):
    text = (SETUP + LOOP).replace(
        "    for images, labels in train_loader:",
        "    it = iter(train_loader)\n    for _ in range(10):\n        images, labels = next(it)",
    )
    done = watched(text, full=False, steps=4)
    assert done.script_exit == 0
    assert [one.batches for one in done.log.passes if one.trains] == [10, 10]


@pytest.mark.parametrize(
    ("ending", "code"), [("raise SystemExit(5)", 5), ("import sys; sys.exit()", 0), ("raise KeyError('mine')", 1)]
)
def test_scripts_own_exit_code_and_findings_after_an_error(ending, code, watched, capsys):
    done = watched(SETUP + LOOP.replace("        optimizer.zero_grad()\n", "") + ending + "\n")
    assert done.script_exit == code
    assert {one.code for one in done.findings if one.speaks} == {"FIT304"}
    if code == 1:
        error = capsys.readouterr().err
        assert "KeyError: 'mine'" in error
        assert "truefit" not in error


def test_arguments_main_guard_and_path_are_the_scripts_own(watched, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    text = "import sys, beside, pickle\nclass A: pass\nif __name__ == '__main__':\n"
    text += "    pickle.loads(pickle.dumps(A()))\n    sys.exit(len(sys.argv) * 10 + beside.VALUE)\n"
    assert watched(text, arguments=["--epochs", "3"]).script_exit == 37


def test_wrappers_are_all_taken_off_again(watched):
    from torch.nn import functional as F
    from torch.utils.data import DataLoader

    before = torch.nn.Module.__call__, F.cross_entropy, torch.autograd.backward, DataLoader.__iter__, torch.save
    watched(SETUP + LOOP)
    after = torch.nn.Module.__call__, F.cross_entropy, torch.autograd.backward, DataLoader.__iter__, torch.save
    assert before == after


def test_notebook_runs_and_names_the_cell(tmp_path):
    from truefit.doctor.script import run_script

    cells = ["%matplotlib inline\n" + SETUP, LOOP.replace("net(), nn", "net(nn.Softmax(dim=1)), nn")]
    content = {"cells": [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]}
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(content))
    with torch.random.fork_rng():
        done = run_script(str(path), full=True)
    finding = next(one for one in done.findings if one.code == "FIT101")
    assert finding.outcome.value == "fail"
    assert str(finding.where.file).endswith("book.ipynb[cell 2]")


def test_every_code_has_its_page():
    assert {module.RULE.code for module in all_checks()} <= set(codes())
    for module in all_checks():
        assert page(module.RULE.code).startswith(f"# {module.RULE.name}\n")


def test_sarif_has_what_its_standard_requires(tmp_path):
    """The required properties of SARIF 2.1.0, sections 3.13 to 3.52."""
    (tmp_path / "a script.py").write_text(SETUP + LOOP.replace("        optimizer.zero_grad()\n", ""))
    done = call(*COMMAND, "--full", "--format", "sarif", "a script.py", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert told["version"] == "2.1.0" and told["$schema"].endswith("sarif-2.1.0.json")
    (run,) = told["runs"]
    driver = run["tool"]["driver"]
    rules = [rule["id"] for rule in driver["rules"]]
    assert driver["name"] and len(set(rules)) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert [result["ruleId"] for result in run["results"]] == ["FIT304"]
    for result in run["results"]:
        assert result["ruleId"] in rules and result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        (place,) = (one["physicalLocation"] for one in result["locations"])
        assert place["artifactLocation"]["uri"] == "a%20script.py"
        assert place["region"]["startLine"] >= 1


def test_module_is_run_as_python_would(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "parts.py").write_text(SETUP)
    buggy = LOOP.replace("        optimizer.zero_grad()\n", "")
    (tmp_path / "pack" / "__main__.py").write_text(
        f"import sys\nfrom .parts import *\n{buggy}\nprint(__name__, sys.argv[1:])\n"
    )
    done = call(*COMMAND, "--full", "--json", "-m", "pack", "--epochs", "3", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "__main__ ['--epochs', '3']" in done.stderr
    (found,) = (one for one in json.loads(done.stdout)["findings"] if one["outcome"] == "fail")
    assert found["code"] == "FIT304" and found["where"]["file"].endswith("__main__.py")
    missing = call(*COMMAND, "-m", "no_such_module", cwd=tmp_path)
    assert missing.returncode == 2 and "can't be found" in missing.stderr


def test_sarif_and_github_name_file_and_line(watched):
    from truefit.doctor.report import as_github, as_sarif

    findings = watched(SETUP + LOOP.replace("        optimizer.zero_grad()\n", "")).findings
    results = as_sarif(findings)["runs"][0]["results"]
    assert [one["ruleId"] for one in results] == ["FIT304"]
    assert results[0]["locations"][0]["physicalLocation"]["region"]["startLine"] > 1
    assert as_github(findings).startswith("::error file=")


def test_explain_names_the_code_and_is_markdown_where_it_is_piped(capsys: pytest.CaptureFixture[str]) -> None:
    from truefit.commands.doctor.explain import main

    assert main(["fit301"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# FIT301 trains-in-eval-mode\n\n")
    assert out.rstrip() == page("FIT301").replace("# ", "# FIT301 ", 1).rstrip()


def test_findings_that_are_piped_are_not_broken_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from truefit.doctor.finding import Finding, Outcome, Severity
    from truefit.doctor.report import print_table

    said = " ".join(["word"] * 60)
    about = {"code": "FIT999", "name": "made-up", "severity": Severity.WARN, "message": said}
    print_table([Finding(outcome=Outcome.WARN, **about)], sys.stdout, notes=[f"note: {said}"])
    out = capsys.readouterr().out
    assert f"WARN FIT999  {said}\n" in out
    assert f"note: {said}\n" in out
    assert not [line for line in out.splitlines() if line != line.rstrip()]
