"""The command that writes a model as an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import check, check_alpha
from upland.cli.console import alone, check_target, claimed, reporting, writing
from upland.cli.process import STANDARD_OUTPUT

SUFFIX = ".onnx"

Graph = Annotated[
    Path,
    typer.Option("--output", "-o", readable=False, help="ONNX file to write (.onnx).", show_default=False),
]


@command
def export(
    model: option.Model,
    output: Graph,
    alpha: option.OfModel = None,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Write a model as one ONNX graph, from the columns of the data to anomaly_score, p_value and is_anomaly.

    Any ONNX runtime scores with it, without Python. The metadata of the file say what its inputs are.
    """
    with reporting(as_json, quiet) as reporter, alone(output, wait):
        check_alpha(alpha)
        check(output != STANDARD_OUTPUT, "a graph is written into a file, not to standard output: name one")
        check(output.suffix.lower() == SUFFIX, f"name the file *{SUFFIX}, such as {output.stem}{SUFFIX}")
        check_target(output, overwrite)
        from upland.export.onnx import alpha_in, inputs_in, to_onnx
        from upland.io.replace import replacing

        with claimed(output, overwrite) as target:
            graph = to_onnx(model, alpha=alpha)
            with writing(output), replacing(target) as file:
                file.write(graph)
        inputs = inputs_in(graph)
        found = {"output": str(output), "bytes": len(graph), "alpha": alpha_in(graph), "inputs": inputs}
        line = f"wrote {output}: {len(inputs)} input(s), {len(graph):,} bytes"
        reporter.result(lambda: found, lambda screen: screen.print(line, soft_wrap=True))
