"""Text that people see: nothing in it steers their terminal, and no secret is in it."""

from __future__ import annotations

import re

import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.shown import HIDDEN, hidden, is_hidden, is_secret, plain, remember, shown, shown_command

STEERING = [
    *map(chr, [*range(9), *range(11, 32), *range(127, 160)]),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2069\u2028",
]


@pytest.mark.parametrize("character", STEERING)
def test_what_steers_a_terminal_is_shown_by_its_code(character: str) -> None:
    assert plain(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"
    text = str(UserError(f"a{character}b", "c", character, "d"))
    assert text.isprintable()


def test_other_text_stays() -> None:
    text = "naïve\tfilm 😀 東京 \\x1b\n"
    assert plain(text) == text


def test_messages_are_one_line_of_bounded_length() -> None:
    text = str(UserError("a\nb", "x" * 10**6, "y\r\n" * 10**6, "z"))
    assert text.isprintable()
    assert len(text) < 4000
    assert r"a\nb: expected xxx" in text
    assert "(1,000,000 characters)" in text


KEYS = [
    "password",
    "logger.x.api_key",
    "apiKey",
    "API-KEY",
    "token",
    "auth_token",
    "client_secret",
    "aws_access_key_id",
]
KEYS += ["credentials", "x.auth", "Authorization", "passwd", "private_key"]


@pytest.mark.parametrize("key", KEYS)
def test_secrets_are_known_by_their_keys(key: str) -> None:
    assert is_secret(key)
    assert shown(f"python x.py {key}=abc y=1") == f"python x.py {key}=*** y=1"
    assert shown(f"{{'{key}': 'a b', 'y': 1}}") == f"{{'{key}': ***, 'y': 1}}"
    assert shown_command(["a", f"++{key}=a b", "y=1"]) == f"a '++{key}=***' y=1"
    assert hidden({key: {"deep": ["a", 1, None, True]}}) == {key: {"deep": [HIDDEN, HIDDEN, None, True]}}


@pytest.mark.parametrize("key", ["data.tokens", "author", "tokenizer", "max_tokens", "model.name", "monkey", "keys"])
def test_other_keys_are_no_secrets(key: str) -> None:
    assert not is_secret(key)
    assert shown(f"{key}=abc {{{key}: abc}}") == f"{key}=abc {{{key}: abc}}"
    assert hidden({key: "abc"}) == {key: "abc"}


def test_known_secrets_are_hidden_wherever_they_stand() -> None:
    remember({"x": {"password": "Tr0ub4dor", "pin": "1234", "token": "abc"}})
    assert shown("no entry for Tr0ub4dor, 1234 or abc") == "no entry for ***, 1234 or abc"
    assert re.search(r"got \*\*\*\.", str(UserError("logger.x", "a", "Tr0ub4dor", "b")))


def test_passwords_in_addresses_are_hidden() -> None:
    address = "https://me:mine@host/x"
    assert hidden([address]) == ["https://me:***@host/x"]
    assert is_hidden({"a": hidden([address])})
    assert shown(f"at {address}") == "at https://me:***@host/x"
    assert not is_hidden({"a": [address, "**", 3]})
