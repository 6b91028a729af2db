"""Whatever the environment holds: it is trimmed once, what will not do is named, and no secret is printed."""

import os
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings, load_settings
from app.core.errors import ConfigurationError
from app.core.values import trim

SECRET = "recognisable-0123456789-recognisable"
SECRETS = ("WANDB_API_KEY", "LOG_HASH_KEY", "API_KEYS", "FEEDBACK_KEY")
PLAIN = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
EDGES = st.text(" \t\r\n", max_size=4)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NAMES = sorted(name.upper() for name in Settings.model_fields if name.upper() not in SECRETS)


def load(**variables: str) -> Settings:
    with mock.patch.dict(os.environ, variables, clear=True):
        return load_settings(_env_file=None)


def outcome(variables: dict[str, str]) -> tuple[Settings | None, ConfigurationError | None]:
    try:
        return load(**variables), None
    except ConfigurationError as error:
        return None, error


@given(PLAIN, EDGES, EDGES, st.sampled_from(["", "'", '"']))
def test_blanks_line_ends_and_one_pair_of_quotes_change_nothing(
    value: str, before: str, after: str, quote: str
) -> None:
    written = f"{before}{quote}{value}{quote}{after}"
    assert trim(written) == value
    loaded = load(PROJECT_NAME=written, WANDB_API_KEY=written, MODEL_SOURCE="embedded")
    assert loaded.project_name == value
    assert loaded.wandb_api_key is not None
    assert loaded.wandb_api_key.get_secret_value() == value


@given(st.sampled_from(NAMES), EDGES)
def test_what_is_empty_is_unset(name: str, blanks: str) -> None:
    assert load(**{name: blanks}) == load()


@given(VALUES)
def test_trimming_is_done_once_for_all(value: str) -> None:
    once = trim(value)
    assert once == once.strip()
    assert len(once) <= len(value)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4), st.sampled_from(SECRETS))
def test_a_refusal_names_the_variable_and_repeats_no_value(variables: dict[str, str], secret: str) -> None:
    loaded, error = outcome({**variables, secret: SECRET})
    if error is not None:
        assert SECRET not in str(error)
        assert any(name in str(error) for name in NAMES)
        assert error.__cause__ is None, "no traceback shows what pydantic was given"
    assert SECRET not in repr(loaded)
    assert loaded is None or SECRET not in str(loaded.model_dump())


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("spoilt", [f"{SECRET} two", f"{SECRET}\nmore", f"{SECRET}\r{SECRET}"])
def test_a_secret_that_will_not_do_is_not_printed(name: str, spoilt: str) -> None:
    loaded, error = outcome({name: spoilt})
    assert "recognisable" not in f"{loaded!r} {error}"
    assert error is None or name in str(error)
