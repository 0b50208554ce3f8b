"""Fields that know their range: `choice`, `whole` and `real` stand beside a setting's default, and `Section` checks."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from imdb_lightning.config.errors import UserError

MAX_SEED = 2**32 - 1
# Of anything that is counted by an int32, as word ids are.
MAX_SIZE = 2**31 - 1


@dataclass(kw_only=True, slots=True)
class Section:
    """Settings whose keys begin with `section`; when one is made, each value is held against its field's range.

    A class that adds `__post_init__` calls this one by name: with `slots=True` a dataclass is made twice, and `super()`
    without arguments would still mean the first one.

    Raises:
        UserError: a value is out of its range. None passes where it is the default.
    """

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            accepted, holds, example = setting.metadata.get("range", (None, None, None))
            value = getattr(self, setting.name)
            if accepted and not (value is None and setting.default is None) and not holds(value):
                key, got = f"{self.section}{setting.name}", repr(value) if isinstance(value, str) else value
                raise UserError(key, accepted, got, f"Try {key}={example}.")


def file_name() -> Any:
    """A field that becomes part of a folder's name."""

    def holds(value: object) -> bool:
        return isinstance(value, str) and value != "" and "/" not in value

    return field(metadata={"range": ("a name without '/'", holds, "mine")})


def choice(options: tuple[str, ...], default: Any = dataclasses.MISSING) -> Any:
    """A field that is one of some names; a `str`, since OmegaConf knows no `Literal`."""
    accepted = "one of " + ", ".join(options)
    return field(default=default, metadata={"range": (accepted, lambda value: value in options, options[0])})


def whole(
    default: int | None, least: int, most: int | None = None, example: int | None = None, or_null: bool = False
) -> Any:
    """A field that is a whole number, at least `least`, at most `most`; messages propose `example` or the default.

    None passes where it is the default, or with `or_null`.
    """
    accepted = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"
    if or_null:
        accepted += ", or null"

    def holds(value: object) -> bool:
        # True and False are whole numbers to Python.
        if value is None:
            return or_null
        return type(value) is int and value >= least and (most is None or value <= most)

    return field(default=default, metadata={"range": (accepted, holds, default if example is None else example)})


def real(default: float | None, accepted: str, holds: Callable[[float], bool], example: float | None = None) -> Any:
    """A field that is a finite number for which `holds` is true, which `accepted` says in words."""

    def finite(value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value) and holds(value)

    return field(default=default, metadata={"range": (accepted, finite, default if example is None else example)})
