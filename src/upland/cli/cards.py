"""The command that writes a model card."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import check, check_alpha, check_other
from upland.cli.console import alone, check_target, reporting, writing
from upland.cli.process import STANDARD_OUTPUT

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.reporting.card import Evaluation

Page = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", readable=False, help="File to write (.md); without it the card is printed."
    ),
]
Results = Annotated[
    Path | None,
    typer.Option(
        readable=False, help='Results of yours: {"dataset": "pumps of May", "metrics": {"roc_auc": 0.98}}.'
    ),
]
LabelledRows = Annotated[
    Path | None, typer.Option(readable=False, help="Labelled rows of a table to evaluate on; with --label.")
]
LabelOf = Annotated[
    str | None,
    typer.Option(metavar=option.COLUMN, help="The column of labels: 1 for an anomaly, 0 for a normal row."),
]
Name = Annotated[str | None, typer.Option(help="What the model is called; by default as its file.")]
License = Annotated[str | None, typer.Option(help="Identifier of a licence, such as bsd-3-clause.")]


@command
def card(
    model: option.Model,
    output: Page = None,
    name: Name = None,
    license: License = None,
    evaluation: Results = None,
    labelled: LabelledRows = None,
    label: LabelOf = None,
    alpha: option.OfModel = None,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Write a model card: data, calibration, guarantee, limits, evaluation, versions, how to score.

    It is Markdown with the front matter that huggingface.co reads; what is not known is not said.
    """
    with reporting(as_json, quiet, labelled) as reporter, alone(output, wait):
        check((labelled is None) == (label is None), "--labelled DATA and --label COLUMN belong together")
        check(labelled is None or evaluation is None, "give either --evaluation or --labelled")
        check_alpha(alpha)
        written = output is not None and output != STANDARD_OUTPUT
        if output is not None and written:
            check_target(output, overwrite)
            for path in (model, labelled, evaluation):
                check_other(output, path)
        from upland.io.modelfile import read_bytes
        from upland.persistence import load_bytes
        from upland.reporting.card import Facts, model_card

        data = read_bytes(model)
        detector = load_bytes(data, model)
        found = _evaluation(detector, evaluation, labelled, label, alpha)
        digest = hashlib.sha256(data).hexdigest()
        text = model_card(detector, Facts(name or model.stem, model.name, digest, license, found))
        if output is not None and written:
            from upland.io.replace import replacing

            with writing(output), replacing(output, overwrite) as file:
                file.write(text.encode())
        document = {"output": str(output) if written else None, "sha256": digest, "card": text}
        shown = f"wrote {output}" if written else text
        reporter.result(lambda: document, lambda screen: screen.print(shown.rstrip(), soft_wrap=True))


def _evaluation(
    detector: Detector, results: Path | None, labelled: Path | None, label: str | None, alpha: float | None
) -> Evaluation | None:
    """What is known of the model on labelled data."""
    from upland.reporting.evaluation import evaluated, read_evaluation

    if results is not None:
        return read_evaluation(results)
    return None if labelled is None or label is None else evaluated(detector, labelled, label, alpha)
