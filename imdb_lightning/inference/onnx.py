"""A trained network as an ONNX model, for other runtimes.

It takes bags, as word ids one after the other and where each bag begins. It is built
from ONNX's operators directly, and what onnxruntime computes with it is compared with ours before it is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from imdb_lightning.config.errors import UserError
from imdb_lightning.model.network import SentimentNetwork

OPSET = 17
TOLERANCE = 1e-5
"""Largest difference of a probability that is taken for rounding."""


def to_onnx(network: SentimentNetwork) -> bytes:
    """The network as an ONNX model: `ids` int64 `[N]` and `offsets` int64 `[B + 1]` to `probabilities` float32 `[B]`.

    A bag's sum is the difference of running sums in float64, since ONNX has no operator for ragged sums.

    Raises:
        UserError: the extra onnx is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise _missing("onnx") from error
    weights: dict[str, NDArray[Any]] = {
        "kernel": network.words.weight.detach().numpy(),
        "bias": network.words.bias.detach().numpy(),
        "zeros": np.zeros((1, network.words.weight.shape[1]), np.float64),
        "axis": np.array(0, np.int64),
        "first": np.array([0], np.int64), "second": np.array([1], np.int64), "end": np.array([2**62], np.int64),
        "last": np.array([-1], np.int64),
        "columns": np.array([1], np.int64),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Gather", ["kernel", "ids"], ["rows"]),
        node("Cast", ["rows"], ["wide"], to=TensorProto.DOUBLE),
        node("CumSum", ["wide", "axis"], ["running"]),
        node("Concat", ["zeros", "running"], ["sums"], axis=0),
        node("Gather", ["sums", "offsets"], ["at_offsets"]),
        node("Slice", ["at_offsets", "second", "end", "first"], ["after"]),
        node("Slice", ["at_offsets", "first", "last", "first"], ["before"]),
        node("Sub", ["after", "before"], ["bags"]),
        node("Cast", ["bags"], ["narrow"], to=TensorProto.FLOAT),
        node("Add", ["narrow", "bias"], ["layer"]),
    ]
    value = "layer"
    for number, layer in enumerate(network.rest):
        if isinstance(layer, nn.Dropout):
            continue
        output = f"value{number}"
        if isinstance(layer, nn.Linear):
            weights |= {
                f"kernel{number}": layer.weight.detach().numpy(),
                f"bias{number}": layer.bias.detach().numpy(),
            }
            nodes.append(node("Gemm", [value, f"kernel{number}", f"bias{number}"], [output], transB=1))
        else:
            nodes += _activation(node, layer, value, output, weights)
        value = output
    nodes += [node("Sigmoid", [value], ["column"]), node("Squeeze", ["column", "columns"], ["probabilities"])]
    graph = helper.make_graph(
        nodes,
        "imdb_lightning",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in ("ids", "offsets")],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _activation(node: Any, layer: nn.Module, value: str, output: str, weights: dict[str, NDArray[Any]]) -> list[Any]:
    """Nodes of an activation; ONNX has GELU from opset 20 on, so it is written out."""
    plain = {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid"}
    if type(layer) in plain:
        return [node(plain[type(layer)], [value], [output])]
    numbers = {"root_two": 2**0.5, "one": 1, "half": 0.5}
    weights |= {name: np.array(number, np.float32) for name, number in numbers.items()}
    return [
        node("Div", [value, "root_two"], [f"{output}_scaled"]),
        node("Erf", [f"{output}_scaled"], [f"{output}_erf"]),
        node("Add", [f"{output}_erf", "one"], [f"{output}_raised"]),
        node("Mul", [value, f"{output}_raised"], [f"{output}_doubled"]),
        node("Mul", [f"{output}_doubled", "half"], [output]),
    ]


@torch.inference_mode()
def compare(network: SentimentNetwork, content: bytes, bags: int = 512) -> float:
    """The largest difference of a probability between onnxruntime and us, on drawn bags, an empty one among them.

    Raises:
        UserError: the extra onnx is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime") from error
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 300, bags)
    lengths[0] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(0, network.words.weight.shape[0], offsets[-1])
    expected = torch.sigmoid(network(torch.from_numpy(ids).int(), torch.from_numpy(offsets).int())).numpy()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (computed,) = session.run(None, {"ids": ids, "offsets": offsets})
    return float(np.abs(expected - computed).max())


def _missing(package: str) -> UserError:
    return UserError("--format onnx", f"the package {package}", "none", "pip install 'imdb-lightning[onnx]'")
