"""A trained network as an ONNX model, for other runtimes.

It takes bags, as word ids one after the other and where each bag begins. It is written in ONNX's own operators, and
kept only if onnxruntime computes the same probabilities with it.
"""

import importlib
from typing import Any

import numpy as np
import torch
from torch import nn

from imdb_lightning.config.errors import UserError
from imdb_lightning.model.network import SentimentNetwork

# Largest difference of a probability that is taken for rounding.
TOLERANCE = 1e-5
_ACTIVATIONS = {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid", nn.GELU: "Gelu"}


def to_onnx(network: SentimentNetwork) -> bytes:
    """The network as an ONNX model: `ids` int64 `[N]` and `offsets` int64 `[B + 1]` to `probabilities` float32 `[B]`.

    A bag's sum is the difference of running sums in float64, since ONNX has no operator for ragged sums.

    Raises:
        UserError: the extra onnx is not installed.
    """
    onnx = _package("onnx")
    first, bias = network.words, network.words.bias
    kernel = first.weight if first.factors is None else first.weight * first.factors[:, None]
    weights = {"kernel": kernel, "bias": bias, "zeros": torch.zeros(1, len(bias), dtype=torch.float64)}
    scaled = "scaled = Identity (narrow)"
    if first.normalize is not None:
        # The same sum again, of what each column counts, squared.
        ones = torch.ones(len(kernel), 1) if first.factors is None else first.factors[:, None]
        weights |= {
            "squares": ones.square(), "one_zero": torch.zeros(1, 1, dtype=torch.float64),
            "length": torch.tensor(first.normalize), "tiny": torch.tensor(torch.finfo(torch.float32).tiny),
        }  # fmt: skip
        scaled = f"""
            {_sums("squares", "one_zero", "counts")}
            some_counts = Max (counts, tiny)
            roots = Sqrt (some_counts)
            factors = Div (length, roots)
            scaled = Mul (narrow, factors)"""
    layers, value = [], "words"
    # Dropout does nothing outside training.
    for number, layer in enumerate(layer for layer in network.rest if not isinstance(layer, nn.Dropout)):
        if isinstance(layer, nn.Linear):
            weights |= {f"kernel{number}": layer.weight, f"bias{number}": layer.bias}
            operation = f"Gemm <transB = 1> ({value}, kernel{number}, bias{number})"
        else:
            operation = f"{_ACTIVATIONS[type(layer)]} ({value})"
        value = f"layer{number}"
        layers.append(f"{value} = {operation}")
    # Opset 20 is the first with Gelu; onnxruntime reads it, and IR version 9, from 1.17 on.
    # Slice needs an end: any number past the last bag.
    model = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["": 20]>
        imdb_lightning (int64[?] ids, int64[?] offsets) => (float[?] probabilities)
        <int64 axis = {{0}}, int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] last = {{-1}},
         int64[1] end = {{{2**62}}}>
        {{
            {_sums("kernel", "zeros", "narrow")}
            {scaled}
            words = Add (scaled, bias)
            {" ".join(layers)}
            column = Sigmoid ({value})
            probabilities = Squeeze (column, one)
        }}""")
    arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _sums(table: str, zeros: str, result: str) -> str:
    """The sum of a table's rows over each bag; `zeros` is a row of zeros in float64."""
    name = f"{result}_"
    return f"""
            {name}rows = Gather ({table}, ids)
            {name}wide = CastLike ({name}rows, {zeros})
            {name}running = CumSum ({name}wide, axis)
            {name}sums = Concat <axis = 0> ({zeros}, {name}running)
            {name}at_offsets = Gather ({name}sums, offsets)
            {name}after = Slice ({name}at_offsets, one, end)
            {name}before = Slice ({name}at_offsets, zero, last)
            {name}bags = Sub ({name}after, {name}before)
            {result} = CastLike ({name}bags, bias)"""


@torch.inference_mode()
def compare(network: SentimentNetwork, content: bytes, bags: int = 512) -> float:
    """The largest difference between a probability of onnxruntime and of torch, on random bags, one of them empty.

    Raises:
        UserError: the extra onnx is not installed.
    """
    onnxruntime = _package("onnxruntime")
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 300, bags)
    lengths[0] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(0, network.words.weight.shape[0], offsets[-1])
    expected = torch.sigmoid(network(torch.from_numpy(ids).int(), torch.from_numpy(offsets).int())).numpy()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (computed,) = session.run(None, {"ids": ids, "offsets": offsets})
    return float(np.abs(expected - computed).max())


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "pip install 'imdb-lightning[onnx]'"
        raise UserError("--format onnx", f"the package {name}", "none", remedy) from error
