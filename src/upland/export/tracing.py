"""A criterion as an ONNX graph: from encoded rows or images to anomaly scores.

PyTorch traces the criterion's own operations on a block of rows (`torch.export`), with the number of rows
left open and the weights as constants, and writes them as ONNX (`torch.onnx`). So a graph needs no second
implementation of a model, and float32 stays float32 and float64 stays float64. The operations that PyTorch's
exporter lacks are in `upland.export.translations`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from upland.export.graph import OPSET, Value
from upland.export.translations import translations
from upland.io.extras import needed
from upland.io.locks import warnings_apart
from upland.models.base import EnergyModel
from upland.models.process import ProcessSetting

if TYPE_CHECKING:
    import onnx

_ROWS = 5  # of the example; one row or none would be taken for constants

_LOGGERS = ("torch", "onnxscript", "onnx_ir")


def _levels() -> tuple[int, ...]:
    return tuple(logging.getLogger(name).level for name in _LOGGERS)


def _set_levels(levels: tuple[int, ...]) -> None:
    for name, level in zip(_LOGGERS, levels, strict=True):
        logging.getLogger(name).setLevel(level)


NOTES = ProcessSetting(_levels, _set_levels, each_thread=False)
"""Levels of the notes that PyTorch's exporter logs for authors of models."""


class _Function(nn.Module):
    """A function of a block of rows as a module, beside the weights that it uses."""

    def __init__(self, function: Callable[[Tensor], Tensor], model: nn.Module) -> None:
        super().__init__()
        self.function, self.model = function, model

    def forward(self, codes: Tensor) -> Tensor:
        return self.function(codes)


def traced(function: Callable[[Tensor], Tensor], model: nn.Module, x: Value, shape: Sequence[int]) -> Value:
    """A function of points as nodes of a graph: `(N, *shape)` to a result whose first axis is the points.

    Args:
        function: of one tensor.
        model: the weights that it uses.
        x: the points.
        shape: of one.

    Raises:
        ImportError: the extra `onnx` is not installed.
    """
    proto, dtype = traced_model(function, model, shape, x.dtype)
    return x.graph.call(proto, x, dtype=dtype)


def traced_model(
    function: Callable[[Tensor], Tensor], model: nn.Module, shape: Sequence[int], dtype: np.dtype[Any]
) -> tuple[onnx.ModelProto, np.dtype[Any]]:
    """A function of points as a model of its own, and the type of its result.

    Args:
        function: of one tensor, `(N, *shape)`, to one whose first axis is the points.
        model: the weights that it uses.
        shape: of one point.
        dtype: of the points.

    Raises:
        ImportError: the extra `onnx` is not installed.
        ValueError: PyTorch cannot write the function, as of a module of the user's own.
    """
    needed("onnxscript", "The ONNX export of nets needs onnxscript", "onnx")
    example = torch.from_numpy(np.zeros((_ROWS, *shape), dtype=dtype))
    silent = NOTES.at((logging.ERROR,) * len(_LOGGERS))
    with torch.no_grad(), silent, warnings_apart():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns of what it does itself
        found = function(example).numpy().dtype
        try:
            proto = _written(_exported(function, model, example))
        except RuntimeError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ValueError(f"PyTorch writes no ONNX graph of a {type(model).__name__}: {reason}") from error
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return proto, found


def _exported(
    function: Callable[[Tensor], Tensor], model: nn.Module, example: Tensor
) -> torch.export.ExportedProgram:
    """The traced function; where a model leaves its gradient to PyTorch, that is written out first."""

    def of(traced: Callable[[Tensor], Tensor]) -> torch.export.ExportedProgram:
        rows = {0: torch.export.Dim("rows", min=1)}
        module = _Function(traced, model).eval()
        return torch.export.export(module, (example,), dynamic_shapes=(rows,), strict=False)

    try:
        return of(function)
    except RuntimeError:
        if not isinstance(model, EnergyModel) or type(model).reconstruct is not EnergyModel.reconstruct:
            raise
    plain = lambda x: function(x)  # noqa: E731 - make_fx counts the arguments of a method wrongly
    return of(make_fx(plain, tracing_mode="symbolic", _allow_non_fake_inputs=True)(example))


def _written(exported: torch.export.ExportedProgram) -> onnx.ModelProto:
    """A traced function in ONNX's operators."""
    program = torch.onnx.export(
        exported, dynamo=True, verbose=False, opset_version=OPSET, custom_translation_table=translations()
    )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto
