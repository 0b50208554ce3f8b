"""Records as JSON has them, held against their dataclass: the file may be damaged or a stranger's."""

import dataclasses
import json
import math
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from imdb_lightning.config.reading import read_text

# A record has some 2,000 bytes, and a command line that names many files.
_MAX_BYTES = 1 << 20
_MAX_WHOLE = 2**63
_Record = TypeVar("_Record")


def read_json(path: Path, kind: type[_Record]) -> _Record:
    """Reads a record of plain values.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else; the message says what.
    """
    try:
        content = json.loads(read_text(path, _MAX_BYTES), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("too many levels of nesting") from error
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(content.keys() - fields.keys()):
        raise ValueError(f"an unknown key, {unknown[0]!r}")
    check_types(content, get_type_hints(kind), {name for name, field in fields.items() if _is_needed(field)})
    return kind(**content)


def check_types(content: dict[str, Any], hints: dict[str, Any], needed: set[str], within: str = "") -> None:
    """Refuses a mapping in which a needed key is missing, or a value is not of its key's type.

    Types are those of JSON, unions of them, `dict[str, ...]`, `list[...]` and `Any`; keys without one may be anything.

    Raises:
        ValueError: it names the key.
    """
    if missing := sorted(needed - content.keys()):
        raise ValueError(f"no {within}{missing[0]}")
    for name, kind in hints.items():
        if name in content and not _fits(content[name], kind):
            raise ValueError(f"{within}{name} is {json.dumps(content[name])[:100]}")


def _is_needed(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(value: object, kind: Any) -> bool:
    origin, of = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(_fits(value, one) for one in of)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, of[1]) for each in value.values())
    if origin is list:
        return isinstance(value, list) and all(_fits(each, of[0]) for each in value)
    if kind is float and type(value) is float:
        return math.isfinite(value)  # 1e999 is read as infinity.
    if kind in (int, float):
        return type(value) is int and abs(value) < _MAX_WHOLE  # True and False are whole numbers to Python.
    return kind is Any or (value is None if kind is NoneType else type(value) is kind)


def _refuse(name: str) -> None:
    raise ValueError(f"{name}, which JSON lacks")
