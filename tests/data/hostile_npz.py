"""Crafted `imdb.npz` files, by what is wrong with them; `test_hostile_npz.py` gives them to the command."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = {"train": 300, "test": 60}


def lists(rows: int) -> list[list[int]]:
    return [[1 + (row + word) % 60 for word in range(row % 9)] for row in range(rows)]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def of_objects(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def members() -> dict[str, bytes]:
    arrays = {}
    for split, rows in ROWS.items():
        arrays[f"x_{split}"] = npy(of_objects(lists(rows)))
        arrays[f"y_{split}"] = npy(np.arange(rows) % 2)
    return arrays


def header(shape: tuple[int, ...], descr: object = "|O") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


class Call:
    """Pickles as a call of a name, followed by a state."""

    def __init__(self, function: Callable[..., object], arguments: tuple[Any, ...], *state: object) -> None:
        self.reduced = (function, arguments, *state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


RECONSTRUCT = np.empty(0).__reduce__()[0]


def crafted(state: object) -> bytes:
    """`x_train` as an array of a state of one's own."""
    return header((300,)) + pickle.dumps(Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), state), protocol=2)


def dtype(name: str, *state: object) -> Call:
    return Call(np.dtype, (name, False, True), (3, "|", None, None, None, -1, -1, 63) if not state else state[0])


def payload(content: bytes) -> bytes:
    return header((300,)) + content


def row_of(value: object) -> bytes:
    """`x_train` with one review that is, or holds, something else."""
    rows: list[Any] = lists(300)
    rows[7] = value
    return npy(of_objects(rows))


def id_of(value: object) -> bytes:
    return row_of([1, 2, value, 3])


def label_of(value: object, kind: object, rows: int = 300) -> bytes:
    labels = (np.arange(rows) % 2).astype(kind)
    labels[11] = value
    return npy(labels)


def itself() -> bytes:
    rows: list[Any] = lists(300)
    rows[3].append(rows)
    return npy(of_objects(rows))


X, Y, X_TEST, Y_TEST = "x_train", "y_train", "x_test", "y_test"
O8 = dtype("O8")
MEMBERS: dict[str, tuple[str, bytes | None]] = {
    "label-2": (Y, label_of(2, "i8")),
    "label-255": (Y, label_of(255, "u1")),
    "label-minus-1": (Y, label_of(-1, "i8")),
    "label-257": (Y, label_of(257, "i8")),
    "label-2-to-the-63": (Y, label_of(2**63, "u8")),
    "label-test-2": (Y_TEST, label_of(2, "i8", 60)),
    "labels-float": (Y, label_of(0.7, "f8")),
    "labels-whole-floats": (Y, npy(np.arange(300) % 2.0)),
    "labels-nan": (Y, label_of(np.nan, "f4")),
    "labels-complex": (Y, label_of(1j, "c16")),
    "labels-dates": (Y, npy(np.zeros(300, "M8[s]"))),
    "labels-structured": (Y, npy(np.zeros(300, [("a", "i4"), ("b", "i4")]))),
    "labels-text": (Y, npy(np.full(300, "1"))),
    "labels-bytes": (Y, npy(np.full(300, b"1"))),
    "labels-objects": (Y, npy(of_objects([0, 1] * 150))),
    "labels-too-many": (Y, npy(np.zeros(400, "i8"))),
    "labels-too-few": (Y, npy(np.zeros(299, "i8"))),
    "labels-test-too-many": (Y_TEST, npy(np.zeros(61, "i8"))),
    "labels-none": (Y, npy(np.zeros(0, "i8"))),
    "labels-test-none": (Y_TEST, npy(np.zeros(0, "i8"))),
    "labels-of-two-axes": (Y, npy(np.zeros((300, 1), "i8"))),
    "labels-of-no-axis": (Y, npy(np.array(1))),
    "labels-truncated": (Y, npy(np.zeros(300, "i8"))[:-5]),
    "labels-and-more": (Y, npy(np.zeros(300, "i8")) + b"more"),
    "labels-shape-negative": (Y, header((-5,), "<i8") + bytes(2400)),
    "labels-shape-huge": (Y, header((2**62,), "<i8") + bytes(2400)),
    "id-0": (X, id_of(0)),
    "id-minus-5": (X, id_of(-5)),
    "id-2-to-the-31-minus-3": (X, id_of(2**31 - 3)),
    "id-2-to-the-31": (X, id_of(2**31)),
    "id-2-to-the-70": (X, id_of(2**70)),
    "id-1.5": (X, id_of(1.5)),
    "id-1.0": (X, id_of(1.0)),
    "id-nan": (X, id_of(float("nan"))),
    "id-text": (X, id_of("12")),
    "id-bytes": (X, id_of(b"\x01")),
    "id-none": (X, id_of(None)),
    "id-false": (X, id_of(False)),
    "id-list": (X, id_of([1])),
    "id-dict": (X, id_of({1: 2})),
    "id-test-0": (X_TEST, npy(of_objects([[1], [0], *lists(58)]))),
    "review-int": (X, row_of(5)),
    "review-text": (X, row_of("123")),
    "review-bytes": (X, row_of(b"123")),
    "review-tuple": (X, row_of((1, 2))),
    "review-dict": (X, row_of({1: 1})),
    "review-none": (X, row_of(None)),
    "review-floats": (X, row_of(np.array([1.0, 2.0]))),
    "review-objects": (X, row_of(of_objects([1, 2]))),
    "review-array-negative": (X, row_of(np.array([1, -2]))),
    "review-array-of-two-axes": (X, row_of(np.ones((2, 2), "i8"))),
    "review-holds-itself": (X, itself()),
    "reviews-too-few": (X, npy(of_objects(lists(40)))),
    "reviews-test-none": (X_TEST, npy(np.empty(0, object))),
    "reviews-of-two-axes": (X, npy(np.ones((300, 4), object))),
    "reviews-numbers": (X, npy(np.ones(300, "i8"))),
    "reviews-matrix": (X, npy(np.ones((300, 4), "i8"))),
    "reviews-of-another-shape": (X, header((299,)) + npy(of_objects(lists(300)))[len(header((300,))) :]),
    "header-version": (X, b"\x93NUMPY\x09\x00" + bytes(300)),
    "header-garbage": (X, b"\x93NUMPY\x01\x00\x76\x00" + b"{" * 118),
    "header-truncated": (X, npy(of_objects(lists(300)))[:50]),
    "header-no-npy": (X, b"text"),
    "member-missing-x": (X, None),
    "member-missing-y": (Y, None),
    "member-missing-x-test": (X_TEST, None),
    "member-missing-y-test": (Y_TEST, None),
    "state-short-list": (X, crafted((1, (300,), O8, False, [[1], [2], [3]]))),
    "state-bytes-as-objects": (X, crafted((1, (300,), O8, False, bytes(2400)))),
    "state-list-as-numbers": (X, crafted((1, (300,), dtype("i8"), False, lists(300)))),
    "state-type-without-flags": (
        X,
        crafted((1, (300,), dtype("O8", (3, "|", None, None, None, -1, -1, 0)), False, [])),
    ),
    "state-type-with-object-field": (
        X,
        crafted((1, (300,), dtype("V8", (3, "|", None, ("a",), {"a": (O8, 0)}, 8, 1, 0)), False, bytes(2400))),
    ),
    "state-type-with-far-field": (
        X,
        crafted((1, (300,), dtype("V8", (3, "|", None, ("a",), {"a": (O8, 10**6)}, 8, 1, 0)), False, bytes(2400))),
    ),
    "state-type-with-subarray": (
        X,
        crafted((1, (300,), dtype("V8", (3, "|", (O8, (1,)), None, None, 8, 1, 0)), False, bytes(2400))),
    ),
    "state-address": (X, crafted((1, (1,), dtype("V8"), False, (0x133713371330).to_bytes(8, "little")))),
    "state-of-two-axes": (X, crafted((1, (150, 2), O8, False, lists(300)))),
    "state-empty": (X, crafted(())),
    "state-number": (X, crafted(5)),
    "state-dict": (X, crafted({"content": lists(300)})),
    "state-of-a-name": (X, payload(b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.")),
    "state-slots-of-a-name": (X, payload(b"\x80\x02cnumpy\ndtype\nN}U\x08__call__K\x01s\x86b.")),
    "pickle-empty": (X, payload(b"")),
    "pickle-garbage": (X, payload(b"\x80\x02\xff\xff.")),
    "pickle-truncated": (X, npy(of_objects(lists(300)))[:-200]),
    "pickle-list": (X, payload(pickle.dumps(lists(300)))),
    "pickle-dict": (X, payload(pickle.dumps({}))),
    "pickle-persistent": (X, payload(b"\x80\x02U\x01aQ.")),
    "pickle-extension": (X, payload(b"\x80\x02\x82\x01.")),
    "pickle-memo": (X, payload(b"\x80\x02h\x09.")),
    "pickle-memo-far": (X, payload(b"\x80\x02]r" + (2**27).to_bytes(4, "little") + b".")),
    "pickle-many-lists": (X, payload(b"\x80\x02" + b"]" * 10**7)),
    "pickle-many-sets": (X, payload(b"\x80\x04" + b"\x8f" * 10**7)),
    "pickle-shared-list": (X, npy(of_objects([[7] * 10**5] * 300))),
    "pickle-shared-array": (X, npy(of_objects([np.ones(10**5, "i8")] * 300))),
    "pickle-new-object": (X, payload(b"\x80\x02cnumpy\nndarray\n)\x81.")),
    "pickle-deep": (X, payload(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")),
    "pickle-large-bytes": (X, payload(b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b".")),
    "pickle-scalar": (X, row_of([np.int64(3)])),
    "codec": (X, payload(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")),
    "code-system": (X, payload(pickle.dumps(Call(os.system, ("touch ran",)), 2))),
    "code-popen": (X, payload(pickle.dumps(Call(subprocess.Popen, (["touch", "ran"],)), 2))),
    "code-eval": (X, payload(pickle.dumps(Call(eval, ("open('ran', 'w')",)), 2))),
    "code-open": (X, payload(pickle.dumps(Call(open, ("ran", "w")), 2))),
    "code-getattr": (X, payload(pickle.dumps(Call(getattr, (dict, "get")), 2))),
    "code-load": (X, payload(pickle.dumps(Call(np.load, ("other.npz",)), 2))),
    "code-in-a-review": (X, row_of(Call(os.system, ("touch ran",)))),
    "code-in-labels": (Y, header((300,)) + pickle.dumps(Call(os.system, ("touch ran",)), 2)),
}


def damaged_zips(whole: bytes) -> dict[str, bytes]:
    first = whole.index(b"x_train.npy")
    entry = whole.rindex(b"PK\x01\x02")
    return {
        "zip-empty": b"",
        "zip-text": b"not a zip file",
        "zip-truncated": whole[: len(whole) // 2],
        "zip-flipped": whole[: first + 300] + bytes([whole[first + 300] ^ 4]) + whole[first + 301 :],
        "zip-encrypted": whole[: entry + 8] + b"\x01" + whole[entry + 9 :],
        "zip-compression": whole[: entry + 10] + b"\x63" + whole[entry + 11 :],
    }
