"""A criterion as an ONNX graph: from encoded rows or images to anomaly scores.

PyTorch traces the criterion's own operations on a block of rows (`torch.export`), with the number of rows left
open and the weights as constants, and writes them as ONNX (`torch.onnx`). So a graph needs no second
implementation of a model, float32 stays float32 and float64 stays float64, and gradients inside of a model are
traced as well. The operations that PyTorch's exporter lacks are in `upland.export.translations`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from upland.criteria.base import PointCriterion
from upland.detectors.host import usual_settings
from upland.export.translations import translations
from upland.io.extras import needed

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Version of ONNX's operators."""

CODES, SCORE = "codes", "score"
"""Names of a traced graph's input and output."""

_ROWS = 5  # of the example; one row or none would be taken for constants


class _Function(nn.Module):
    """A function of a block of rows as a module, beside the weights that it uses."""

    def __init__(self, function: Callable[[Tensor], Tensor], model: nn.Module) -> None:
        super().__init__()
        self.function, self.model = function, model

    def forward(self, codes: Tensor) -> Tensor:
        return self.function(codes)


def score_graph(criterion: PointCriterion, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The graph of a fitted criterion: `codes` float32 `(rows, *shape)` to `score` float64 `(rows,)`.

    Args:
        criterion: fitted, with its model on the CPU.
        shape: of one encoded row or image.

    Raises:
        ImportError: the extra `onnx` is not installed.
        NotImplementedError: the criterion has no form that a graph can hold.
    """
    return traced_graph(criterion.of_block, criterion.reference.model, shape)


def traced_graph(
    function: Callable[[Tensor], Tensor], model: nn.Module, shape: tuple[int, ...]
) -> onnx.ModelProto:
    """The graph of a function of rows: `codes` float32 `(rows, *shape)` to `score`.

    Args:
        function: `(N, *shape)` to one tensor whose first axis is the rows.
        model: the weights that it uses, on the CPU.
        shape: of one row.
    """
    needed("onnx", "An export to ONNX", "onnx")
    needed("onnxscript", "An export to ONNX", "onnx")
    example = torch.zeros(_ROWS, *shape, dtype=torch.float32)
    rows = {0: torch.export.Dim("rows", min=1)}
    with usual_settings(), torch.no_grad(), _quiet():
        module = _Function(function, model).eval()
        exported = torch.export.export(module, (example,), dynamic_shapes=((rows),), strict=False)
        program = torch.onnx.export(
            exported, dynamo=True, verbose=False, opset_version=OPSET, custom_translation_table=translations()
        )
    assert program is not None
    return _named(program.model_proto)


def _named(proto: Any) -> onnx.ModelProto:
    """The graph with the names of this module for its input and its output, and none of its own history."""
    graph = proto.graph
    names = {graph.input[0].name: CODES, graph.output[0].name: SCORE}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    graph.input[0].name, graph.output[0].name = CODES, SCORE
    del graph.value_info[:]
    return proto  # type: ignore[no-any-return]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and notes of PyTorch's exporter, which are for authors of models."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
