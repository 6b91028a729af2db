"""What every text classifier does with a model that takes whole texts."""

from collections.abc import Sequence

import pytest

from app.core.errors import InvalidInputError
from app.services.predictor import LoadContext
from app.services.text_classifier import WholeTextClassifier, sentiment


class Echo(WholeTextClassifier):
    labels = ("negative", "positive")

    @classmethod
    def load(cls, path, context: LoadContext) -> "Echo":
        return cls()

    def answer(self, texts: Sequence[str]):
        self.seen = list(texts)
        return [("positive", {}) for _ in texts]


def test_the_model_gets_the_text_as_it_was_sent():
    echo = Echo()
    text = "A  <br /> good\nfilm, half \ud83d"
    (output,) = echo.predict(echo.prepare([text]))
    assert echo.seen == ["A  <br /> good\nfilm, half \ufffd"]
    assert output.tokens == 5


def test_blank_texts_are_refused_as_by_every_loader():
    with pytest.raises(InvalidInputError, match="the text is blank") as caught:
        Echo().prepare(["fine", "<br />"])
    assert caught.value.position == 1


def test_a_row_has_no_column_for_what_is_not_known():
    echo = Echo()
    (output,) = echo.predict(echo.prepare(["Good"]))
    row = echo.row("Good", output)
    assert "unknown_tokens" not in row
    assert not [name for name in row if name.startswith("confidence_")]


@pytest.mark.parametrize(
    ("label", "shown"), [("positive", "Positive"), ("POSITIVE", "POSITIVE"), ("very bad", "Very bad")]
)
def test_sentiments_begin_with_a_capital(label: str, shown: str):
    assert sentiment(label) == shown
