"""Lists in one variable: what is taken, and how what is not is named without being repeated."""

import re

import pytest

from app.core.values import parse_keys, parse_origins, trim

ONE, TWO = "one-key-of-the-service", "two-keys-of-the-service"


@pytest.mark.parametrize(
    ("raw", "trimmed"),
    [
        (" a ", "a"),
        ("a\r\n", "a"),
        ('"a"', "a"),
        ("' a '", "a"),
        ("\"a'", "\"a'"),
        ("''a''", "'a'"),
        ('"', '"'),
    ],
)
def test_trimming(raw, trimmed):
    assert trim(raw) == trimmed


@pytest.mark.parametrize("value", [f"{ONE},{TWO}", f" {ONE} ,\n'{TWO}',", f'"{ONE}"\r\n,,{TWO}'])
def test_keys_are_split_and_trimmed(value):
    assert parse_keys(value) == (ONE.encode(), TWO.encode())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (",", "no key"),
        (f"{ONE},short", "key 2 is shorter than 16 characters"),
        (f"{ONE} {TWO}", "key 1 holds a blank"),
        (f"{ONE},{TWO}é", "key 2 holds a blank, a line break or a letter outside ASCII"),
    ],
)
def test_a_key_that_is_none_is_named_by_its_number(value, words):
    with pytest.raises(ValueError, match=words) as caught:
        parse_keys(value)
    assert ONE not in str(caught.value)


def test_origins_are_split_trimmed_and_written_as_browsers_do():
    value = "https://A.example/ , 'http://localhost:3000',https://[::1]:8443"
    assert parse_origins(value) == ("https://a.example", "http://localhost:3000", "https://[::1]:8443")
    assert parse_origins(" * ") == ("*",)


@pytest.mark.parametrize(
    "value",
    [
        ",",
        "a.example",
        "https://",
        "https://a.example/path",
        "https://*.a.example",
        "*,https://a.example",
        '["https://a"]',
    ],
)
def test_what_is_no_origin_stops_the_start(value):
    with pytest.raises(ValueError, match=re.compile("no origin")):
        parse_origins(value)
