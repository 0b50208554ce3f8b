"""The multi-hot layer against dense algebra in float64."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from imdb_lightning.model.multi_hot import MultiHotLinear, _transpose_on_gpu, transpose
from tests.oracle import bags_of

CASES = {
    "ordinary": (8, 50, 5, 0.3),
    "one word each": (6, 40, 4, None),
    "all empty": (4, 10, 3, 0.0),
    "every word": (3, 12, 2, 1.0),
    "more words than uint16 holds": (5, 70_000, 3, 0.001),
    "one unit": (7, 30, 1, 0.2),
}


def make_dense(rows: int, words: int, density: float | None, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if density is None:
        dense = np.zeros((rows, words))
        dense[np.arange(rows), rng.integers(0, words, rows)] = 1
        return dense
    dense = (rng.random((rows, words)) < density).astype(float)
    if 0 < density < 1:
        dense[1] = 0  # An empty bag among others.
    return dense


def tensors(dense: np.ndarray, dtype: torch.dtype = torch.int32) -> tuple[torch.Tensor, torch.Tensor]:
    ids, offsets = bags_of(dense)
    return torch.from_numpy(ids).to(dtype), torch.from_numpy(offsets).to(dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_forward_and_gradient_equal_dense_algebra(case: str, dtype: torch.dtype) -> None:
    rows, words, units, density = CASES[case]
    dense = make_dense(rows, words, density)
    layer = MultiHotLinear(words, units)
    torch.nn.init.normal_(layer.bias)
    upstream = torch.randn(rows, units)
    output = layer(*tensors(dense, dtype))
    output.backward(upstream)
    weight, gradient = layer.weight.detach().double().numpy(), upstream.double().numpy()
    assert output.dtype == torch.float32
    np.testing.assert_allclose(output.detach(), dense @ weight + layer.bias.detach().double().numpy(), atol=2e-6)
    np.testing.assert_allclose(layer.weight.grad, dense.T @ gradient, atol=5e-6)
    np.testing.assert_allclose(layer.bias.grad, gradient.sum(0), atol=5e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalize", [None, 10.0])
def test_weights_of_columns_equal_dense_algebra(case: str, weighted: bool, normalize: float | None) -> None:
    rows, words, units, density = CASES[case]
    dense = make_dense(rows, words, density)
    layer = MultiHotLinear(words, units, weighted, normalize)
    counts = dense
    if weighted:
        torch.nn.init.normal_(layer.factors)
        counts = dense * layer.factors.double().numpy()
    if normalize is not None:
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        counts = np.divide(normalize * counts, lengths, out=np.zeros_like(counts), where=lengths > 0)
    upstream = torch.randn(rows, units)
    output = layer(*tensors(dense))
    output.backward(upstream)
    expected = counts @ layer.weight.detach().double().numpy()
    np.testing.assert_allclose(output.detach(), expected, atol=5e-6)
    np.testing.assert_allclose(layer.weight.grad, counts.T @ upstream.double().numpy(), atol=2e-5)
    np.testing.assert_allclose(layer(torch.from_numpy(dense).float()).detach(), expected, atol=5e-6)
    ids, _ = tensors(dense[:1], torch.int64)
    np.testing.assert_allclose(layer.rows(ids).sum(0).detach(), expected[0], atol=5e-6)
    assert ("factors" in layer.state_dict()) == weighted


@pytest.mark.fast
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", [*CASES, "a large batch"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_gradient_by_scipy_has_the_bits_of_the_gather(case: str, dtype: torch.dtype, weighted: bool) -> None:
    pytest.importorskip("scipy", reason="needs the extra fast")
    rows, words, units, density = CASES.get(case, (3000, 500, 16, 0.2))
    ids, offsets = tensors(make_dense(rows, words, density), dtype)
    layer = MultiHotLinear(words, units, weighted)
    if weighted:
        torch.nn.init.normal_(layer.factors)
    upstream = torch.randn(units, rows).T  # Not contiguous.
    layer(ids, offsets).backward(upstream)
    bags, starts = transpose(ids, offsets, words)
    expected = F.embedding_bag(bags, upstream.contiguous(), starts, mode="sum", include_last_offset=True)
    if weighted:
        expected *= layer.factors[:, None]
    assert layer.weight.grad is not None
    assert layer.weight.grad.numpy().tobytes() == expected.numpy().tobytes()


def test_gradient_passes_gradcheck_in_double() -> None:
    layer = MultiHotLinear(6, 2).double()
    ids, offsets = tensors(make_dense(4, 6, 0.5))

    def output(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (ids, offsets))

    assert torch.autograd.gradcheck(output, (layer.weight,))


def test_layer_used_twice_adds_both_gradients() -> None:
    layer = MultiHotLinear(20, 3)
    first, second = make_dense(5, 20, 0.3), make_dense(7, 20, 0.3, seed=1)
    (layer(*tensors(first)).sum() + 2 * layer(*tensors(second)).sum()).backward()
    expected = first.sum(0) + 2 * second.sum(0)
    np.testing.assert_allclose(layer.weight.grad, np.repeat(expected[:, None], 3, axis=1), atol=1e-6)


def test_non_contiguous_input_and_gradient_give_the_same() -> None:
    dense = make_dense(6, 30, 0.3)
    ids, offsets = tensors(dense)
    strided_ids, strided_offsets = (torch.stack([t, t - 1], dim=1)[:, 0] for t in (ids, offsets))
    assert not strided_ids.is_contiguous()
    layer = MultiHotLinear(30, 4)
    upstream = torch.randn(4, 6).T
    assert not upstream.is_contiguous()
    gradients = []
    for inputs in ((ids, offsets), (strided_ids, strided_offsets)):
        layer.zero_grad()
        layer(*inputs).backward(upstream)
        gradients.append(layer.weight.grad.clone())
    assert torch.equal(*gradients)
    np.testing.assert_allclose(gradients[0], dense.T @ upstream.double().numpy(), atol=5e-6)


def test_result_stays_float32_under_bfloat16_autocast() -> None:
    dense = make_dense(6, 30, 0.3)
    layer = MultiHotLinear(30, 4)
    plain = layer(*tensors(dense))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = layer(*tensors(dense))
        (cast @ torch.ones(4, 1)).sum().backward()
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)
    np.testing.assert_allclose(layer.weight.grad, np.repeat(dense.sum(0)[:, None], 4, axis=1), atol=1e-6)


def test_dense_rows_give_the_same_as_bags() -> None:
    dense = make_dense(8, 50, 0.3)
    layer = MultiHotLinear(50, 5)
    rows = torch.from_numpy(dense).float()
    torch.testing.assert_close(layer(rows), layer(*tensors(dense)))


# The GPU's way runs on any device; what calls it on a CUDA one is under the mark `gpu`.
@pytest.mark.parametrize("way", [transpose, _transpose_on_gpu])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_transpose_lists_bags_in_order(way: Callable[..., Any], case: str, dtype: torch.dtype) -> None:
    bags, words, _, density = CASES[case]
    dense = make_dense(bags, words, density)
    rows, starts = way(*tensors(dense, dtype), words)
    expected_rows, expected_starts = bags_of(dense.T)
    assert rows.dtype == starts.dtype == dtype
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(starts, expected_starts)


def test_transpose_of_words_wider_than_16_bits_is_right() -> None:
    words, bags = 9_000_000, 1000
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, words, bags).astype(np.int32))
    rows, starts = transpose(ids, torch.arange(bags + 1, dtype=torch.int32), words)
    np.testing.assert_array_equal(rows, np.argsort(ids.numpy(), kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(np.sort(ids.numpy()), np.arange(words + 1)))


def test_start_is_glorot_uniform() -> None:
    torch.manual_seed(0)
    weight = MultiHotLinear(10_000, 16).weight.detach()
    limit = np.sqrt(6 / (10_000 + 16))
    assert float(weight.abs().max()) <= limit
    assert float(weight.std()) == pytest.approx(limit / np.sqrt(3), rel=0.01)


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    dense = make_dense(64, 1000, 0.1)
    layer = MultiHotLinear(1000, 16)
    results = []
    for device in ("cpu", "cuda"):
        moved = deepcopy(layer).to(device)  # Moving the layer itself would take the first one's gradient along.
        output = moved(*(tensor.to(device) for tensor in tensors(dense)))
        output.square().sum().backward()
        results.append((output.detach().cpu(), moved.weight.grad.cpu()))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
