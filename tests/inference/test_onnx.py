"""The exported model, run by onnxruntime alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from imdb_lightning.inference.saved_run import load_run
from imdb_lightning.model.network import ACTIVATIONS, SentimentNetwork
from tests.support import Command

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.mark.slow
def test_onnxruntime_gives_our_probabilities(
    command: Command, trained: Path, labelled: list[tuple[str, int]], tmp_path: Path
) -> None:
    output = tmp_path / "model.onnx"
    answer = command(tmp_path, str(trained), "--format=onnx", f"--output={output}", module="imdb_lightning.export")
    assert answer.returncode == 0, answer.stderr
    assert "checked with onnxruntime" in answer.stdout
    run, texts = load_run(trained), [text for text, _ in labelled]
    ids, offsets = run.bags(texts)
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    inputs = {"ids": ids.astype(np.int64), "offsets": offsets.astype(np.int64)}
    (probabilities,) = session.run(None, inputs)
    np.testing.assert_allclose(probabilities, run.predict_proba(texts), atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("weighting", [(), (True, None), (False, 10.0), (True, 10.0)])
def test_every_network_is_exported(activation: str, weighting: tuple) -> None:
    from imdb_lightning.inference.onnx import compare, to_onnx

    network = SentimentNetwork(30, [5, 4], activation, 0.2, *weighting).eval()
    if network.words.factors is not None:
        torch.nn.init.normal_(network.words.factors)
    assert compare(network, to_onnx(network)) < 1e-5


def test_comparison_sees_another_network() -> None:
    from imdb_lightning.inference.onnx import compare, to_onnx

    first, second = (SentimentNetwork(30, [5], "relu", dropout=0.0).eval() for _ in range(2))
    assert compare(first, to_onnx(second)) > 1e-3
