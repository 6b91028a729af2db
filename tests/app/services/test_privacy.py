"""Texts in the inference log: what is masked, what is left alone, and what never gets longer than its limit."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from app.core.config import Settings
from app.services.privacy import TextPrivacy, mask, passes_luhn


def keep(text: str, **settings: Any) -> str:
    return TextPrivacy(Settings(_env_file=None, **settings)).protect(text)


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.com",
        "ann.o'hara+films@mail.example.co.uk",
        "jörg@müller.example",
        "a_b%c@sub-domain.example",
    ],
)
@pytest.mark.parametrize("sentence", ["{}", "Write to {}.", "({})", "<{}>, or not", "mailto:{}!", "Mail={};"])
def test_email_addresses_are_masked(address: str, sentence: str) -> None:
    assert mask(sentence.format(address)) == sentence.format("[email]")


@pytest.mark.parametrize(
    "number",
    [
        "+1 555 123 4567",
        "+1 (555) 123-4567",
        "+49 (0)30 1234567",
        "+447700900123",
        "+33 6 12 34 56 78",
        "0044 20 7946 0958",
        "(555) 123-4567",
        "(555)123-4567",
        "1-555-123-4567",
        "555.123.4567",
        "555 123 4567",
        "555-0123",
        "020 7946 0958",
        "(030) 1234567",
        "0171/1234567",
        "06 12 34 56 78",
        "06.12.34.56.78",
        "07700 900123",
        "98765 43210",
        "138 1234 5678",
        "5551234567",
    ],
)
@pytest.mark.parametrize(
    "sentence", ["{}", "Call {}.", "Call me ({}), please", "Tel:{}!", "{} is my number, 10/10"]
)
def test_phone_numbers_are_masked(number: str, sentence: str) -> None:
    masked = mask(sentence.format(number))
    assert "[phone]" in masked
    assert not any(group in masked for group in ("123", "555", "900", "946", "765"))


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5555-5555-5555-4444",
        "2223 0031 2200 3222",
        "3782 822463 10005",
        "6011.1111.1111.1117",
        "4222222222222",
        "6304 0000 0000 0000",
        "378 282 246 310 005",
        "4929 9999 9999 9991",
    ],
)
@pytest.mark.parametrize(
    "sentence", ["{}", "Paid with {}.", "I saw it 3 times: {} 1999", "Card={}!", "Room 12 {}"]
)
def test_card_numbers_are_masked(number: str, sentence: str) -> None:
    assert mask(sentence.format(number)) == sentence.format("[card]")


@pytest.mark.parametrize(
    "text",
    [
        "10/10, would watch again",
        "8.5/10 or 85 %",
        "2001: A Space Odyssey (1968) beats 2010 and 1917",
        "12 Angry Men, Se7en, 21 Grams, 1984, 300, The 400 Blows",
        "From 1990-2000 it was shown on 24/12/1999 and 2024-01-15 10:30:00",
        "released 01.02.2003, again 1/2/03",
        "1962 1964 1967 1971 1973 1977",
        "007 1962 1964 1967",
        "It made $2787965087 and cost 237,000,000 dollars, or 2 787 965 087",
        "IMDb tt0111161, rank 1,234,567 of 9,999,999",
        "ISBN 978-0-306-40615-7 or 9780306406157",
        "4111 1111 1111 1112 fails the check",
        "1 2 3 4 5 6 7 8 9 10 11 12 13",
        "5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5",
        "My marks: 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "pi is 3.14159265358979",
        "a theatre with 300-1000 seats",
        "10.0.0.255 and v1.2.3",
        "@director made it @ home for me@home",
        "",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert mask(text) == text


def test_several_things_are_masked_at_once() -> None:
    text = "ann@example.com or +1 555 123 4567, card 4111 1111 1111 1111; bob@example.org"
    assert mask(text) == "[email] or [phone], card [card]; [email]"


def test_numbers_side_by_side_are_all_masked() -> None:
    assert mask("4111 1111 1111 1111 5555 5555 5555 4444") == "[card] [card]"
    assert mask("4111 1111 1111 1111(555) 123-4567") == "[card][phone]"


def test_what_begins_at_the_limit_is_not_named() -> None:
    assert mask("somebody@example.com ann@example.com", 21) == "[email] "


def test_what_lies_across_the_limit_is_seen_whole() -> None:
    for number, name in [
        ("4111 1111 1111 1111", "[card]"),
        ("somebody@example.com", "[email]"),
        ("+1 555 123 4567", "[phone]"),
    ]:
        for limit in range(10, 10 + len(number) + 1):
            kept = keep("x" * 9 + " " + number + " and more" * 99, log_text_characters=limit)
            assert kept == ("x" * 9 + " " + name + " and more" * 99)[: len(kept)]
            assert len(kept) <= limit


def test_many_masks_do_not_pull_an_uncut_rest_into_the_result() -> None:
    kept = keep("somebody@example.com " * 200, log_text_characters=1_000)
    assert set(kept.split()) == {"[email]"}


def test_full_text_is_cut_at_the_limit() -> None:
    assert keep("ann@example.com", log_text="full", log_text_characters=5) == "ann@e"


def test_nothing_is_kept() -> None:
    assert keep("a text", log_text="none") == ""
    assert keep("a text", log_text_characters=0) == ""


def test_hashes_are_of_the_whole_text_and_need_the_key() -> None:
    long = "x" * 5_000
    first = keep(long, log_text="hash", log_hash_key="one-key")
    assert first is not None
    assert first.startswith("hmac-sha256:")
    assert first == keep(long, log_text="hash", log_hash_key="one-key")
    assert first != keep(long + "y", log_text="hash", log_hash_key="one-key")
    assert first != keep(long, log_text="hash", log_hash_key="another-key")
    # Without a key each instance draws its own.
    assert keep(long, log_text="hash") != keep(long, log_text="hash")


@pytest.mark.parametrize("mode", ["masked", "full", "hash"])
def test_half_a_surrogate_pair_does_no_harm(mode: str) -> None:
    kept = keep("bad \ud83d film, ann@example.com", log_text=mode, log_hash_key="one-key")
    kept.encode()
    assert kept == keep("bad \ufffd film, ann@example.com", log_text=mode, log_hash_key="one-key")


@pytest.mark.parametrize(
    "make",
    [
        lambda size: "a" * size,
        lambda size: "a@" * (size // 2),
        lambda size: "a." * (size // 2) + "@",
        lambda size: "@" + "a-" * (size // 2),
        lambda size: "1" * size,
        lambda size: "4 1" * (size // 3),
        lambda size: "4111 " * (size // 5),
        lambda size: "+1(" * (size // 3),
        lambda size: "(0" * (size // 2),
        lambda size: "0 1 - " * (size // 6),
    ],
)
def test_no_text_takes_long(make: Callable[[int], str]) -> None:
    def seconds(size: int) -> float:
        text = make(size)
        started = time.thread_time()
        mask(text)
        return time.thread_time() - started

    # Quadratic time would give a factor of 256.
    assert seconds(160_000) < 64 * max(seconds(10_000), 0.002)


def test_the_check_digit_is_checked() -> None:
    assert passes_luhn("4111111111111111")
    assert not passes_luhn("4111111111111121")
