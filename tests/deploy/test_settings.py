"""What a build is told is looked at before anything happens: an empty or malformed substitution stops it by name."""

import pytest

from deploy.process import ReleaseError
from tests.deploy.support import settings_with


def test_defaults_are_taken() -> None:
    settings = settings_with(ENVIRONMENT="LOG_TEXT=hash; MAX_TEXTS=64")
    assert settings.run_account_address == "marquee-run@films.iam.gserviceaccount.com"
    assert settings.model_environment["LOG_TEXT"] == "hash"
    assert settings.model_environment["MAX_TEXTS"] == "64"
    assert (
        settings_with(RUN_ACCOUNT="a@b.iam.gserviceaccount.com").run_account_address
        == "a@b.iam.gserviceaccount.com"
    )


@pytest.mark.parametrize("name", ["SERVICE", "MODEL_NAME", "REGION", "MEMORY", "SECRET"])
def test_empty_substitution_is_named(name: str) -> None:
    with pytest.raises(ReleaseError, match=f"_{name} is empty: is a substitution of the trigger misspelt"):
        settings_with(**{name: " "})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE", "Films"),
        ("SECRET_VERSION", "latest"),
        ("CPU_BOOST", "yes"),
        ("MAX_INSTANCES", "0"),
        ("CONCURRENCY", "many"),
        ("FLOOR", "93"),
        ("ACCEPTANCE", "none"),
        ("ENVIRONMENT", "LOG_TEXT"),
        ("ENVIRONMENT", "log-text=hash"),
    ],
)
def test_malformed_substitution_is_named(name: str, value: str) -> None:
    with pytest.raises(ReleaseError, match=f"_{name}"):
        settings_with(**{name: value})
