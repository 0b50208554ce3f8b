"""Text as it is shown: nothing in it steers a terminal, and nothing in it is a secret.

Secrets are values of settings whose key says so, such as `logger.wandb.api_key`. A run uses them, and neither its files
nor its messages have them: `config.yaml` has `***`, and its ranks are given the values in their environment.
"""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

HIDDEN = "***"
_KEY = r"""(?:passw|passphrase|secret|credential|(?:api|access|private)[-_]?key|(?<!max_)(?<!num_)token(?!s\b|i[sz])
    |(?:\b|_)(?:auth|authorization|cookie|bearer|pwd)(?:\b|_))"""
_SECRET = re.compile(_KEY, re.IGNORECASE | re.VERBOSE)
_VALUE = r"""(\s*)("[^"]*"|'[^']*'|[^\s,}\])'"]+)"""
# KEY=VALUE anywhere, KEY: VALUE in braces.
_NAMED = re.compile(
    rf"""((?<![\w.+-])[\w.+-]*{_KEY}[\w.-]*=|[{{,]\s*["']?[\w.-]*{_KEY}[\w.-]*["']?\s*:){_VALUE}""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_ADDRESS = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+(?=@)")
# Control characters, and those that turn the direction of the text around them.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Shorter ones would stand in most texts.
_LEAST = 4
_known: set[str] = set()


def plain(text: str) -> str:
    """Text with the codes of what would steer a terminal, or is no text at all; tabs and line ends stay.

    Example:
        >>> plain("a\\x1b[2Jb\\u202ec\\n")
        'a\\\\x1b[2Jb\\\\u202ec\\n'
    """
    return text if text.isascii() and text.isprintable() else _STEERING.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def shown(text: str) -> str:
    """Text for a terminal or a log: `plain`, and without secrets.

    Example:
        >>> shown("logger.x.api_key=abcd and {'password': 1}")
        "logger.x.api_key=*** and {'password': ***}"
    """
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return plain(_IN_ADDRESS.sub(rf"\1:{HIDDEN}", _NAMED.sub(rf"\1\2{HIDDEN}", text)))


def shown_command(words: Iterable[str]) -> str:
    """A command line as it is typed in a shell, without secrets."""
    parts = []
    for word in words:
        key, equals, _ = word.partition("=")
        parts.append(f"{key}={HIDDEN}" if equals and is_secret(key) else shown(word))
    return shlex.join(parts)


def is_secret(key: str) -> bool:
    """Whether a key says that its value is a secret.

    Example:
        >>> [key for key in ("api_key", "data.tokens", "PASSWORD", "author", "x.auth", "max_tokens") if is_secret(key)]
        ['api_key', 'PASSWORD', 'x.auth']
    """
    return _SECRET.search(key) is not None


def hidden(value: Any, secret: bool = False) -> Any:
    """Nested settings with `***` in place of secrets, passwords in addresses among them.

    Example:
        >>> hidden({"a": {"token": "abcd", "save_token": True}, "uri": "http://me:mine@host"})
        {'a': {'token': '***', 'save_token': True}, 'uri': 'http://me:***@host'}
    """
    if isinstance(value, dict):
        return {key: hidden(each, secret or is_secret(str(key))) for key, each in value.items()}
    if isinstance(value, list):
        return [hidden(each, secret) for each in value]
    if secret and value is not None and not isinstance(value, bool):
        return HIDDEN
    return _IN_ADDRESS.sub(rf"\1:{HIDDEN}", value) if isinstance(value, str) else value


def remember(value: Any, secret: bool = False) -> None:
    """Has `shown` look for the secrets among nested settings."""
    if isinstance(value, dict):
        for key, each in value.items():
            remember(each, secret or is_secret(str(key)))
    elif isinstance(value, list):
        for each in value:
            remember(each, secret)
    elif secret and isinstance(value, str) and len(value) >= _LEAST and value != HIDDEN:
        _known.add(value)


def is_hidden(value: Any) -> bool:
    """Whether nested settings are as `hidden` gives them, with a secret missing."""
    each: Sequence[Any] = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return value == HIDDEN or (isinstance(value, str) and f":{HIDDEN}@" in value) or any(map(is_hidden, each))


def in_environment(key: str, value: str) -> str:
    """Puts a secret into this process's environment, and those of its children; gives the interpolation of it."""
    name = "IMDB_LIGHTNING_" + re.sub(r"\W", "_", key).upper()
    os.environ[name] = value
    return f"${{oc.env:{name}}}"
