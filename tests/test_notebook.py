"""In a notebook: progress, figures, tables, plots and the report, in a real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from truefit import InputError, Recipe, Trainer
from truefit.runs.words import history_html, lines_html

from helpers import image_set, tiny_network  # isort: skip

CELLS = {
    "class": """
import torch
from torch.utils.data import TensorDataset
from truefit import ConvNet, ConvolutionalNeuralNet, Trainer

torch.set_num_threads(1)
data = TensorDataset(torch.rand(96, 3, 32, 32), torch.arange(96) % 3)
log = ConvolutionalNeuralNet(ConvNet(3)).train(torch.nn.CrossEntropyLoss(), 1, 32, data, data)
""",
    "run": """
run = Trainer(ConvNet(3), epochs=2, device="cpu", observers=[print]).fit(data, data, out="run")
run
""",
    "evaluation": "run.evaluation",
    "plot": "run.plot()",
    "report": "run.show_report()",
}


def test_notebook_shows_progress_tables_plots_and_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS.values()])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = dict(zip(CELLS, (cell.outputs for cell in notebook.cells), strict=True))
    told = "".join(output.get("text", "") for output in outputs["class"])
    # The bar: drawn, though no stream of a notebook is a terminal.
    assert "Epoch 1/1:   0%|" in told
    assert "Warning" not in told
    shown = {name: outputs[name][-1].data for name in ("run", "evaluation", "plot", "report")}
    sentence = "of 96 validation samples are classified correctly"
    assert sentence in shown["run"]["text/html"]
    assert shown["run"]["text/html"].count("<tr>") == 3
    assert sentence in shown["evaluation"]["text/html"]
    assert shown["plot"]["image/png"]
    assert shown["report"]["text/html"].startswith("<iframe")
    assert "&lt;!doctype html" in shown["report"]["text/html"].lower()


def test_table_of_a_long_history_shows_its_end() -> None:
    history = [{"epoch": at, "training_loss": 1 / at, "validation_accuracy": None} for at in range(1, 31)]
    html = history_html(history)
    assert html.count("<tr>") == 11
    assert "<td" in html
    assert ">30<" in html
    assert ">20<" not in html
    assert "20 earlier epochs" in html
    assert "validation" not in html


def test_report_that_is_not_there_is_an_error_that_says_how_to_make_it(tmp_path: Path) -> None:
    run = Trainer(tiny_network(), Recipe(epochs=1), device="cpu", observers=[lambda event: None]).fit(
        image_set(), image_set(seed=1), out=tmp_path / "run", report=False
    )
    with pytest.raises(InputError, match="truefit report"):
        run.show_report()


def test_lines_are_shown_as_text(tmp_path: Path) -> None:
    trainer = Trainer(tiny_network(), Recipe(epochs=1), device="cpu", observers=[lambda event: None])
    seeds = trainer.fit_seeds(image_set(), image_set(seed=1), seeds=2, make_network=tiny_network)
    shown = seeds._repr_html_()
    assert "seed 0: " in shown
    assert "2 seeds" in shown
    assert "<b>" not in lines_html("<b>")
