"""The guess at a text's language: right where little words or a script tell, honest where nothing does."""

import pytest

from app.services.monitoring.language import LANGUAGES, guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The film was not what I hoped for, but the cast is a joy.", "en"),
        ("Der Film war leider nicht so gut, aber die Musik ist sehr schön.", "de"),
        ("La película no me gustó, pero los actores están muy bien.", "es"),
        ("Le film est très long, mais les acteurs sont bons et je ne regrette pas.", "fr"),
        ("Il film non mi è piaciuto, ma gli attori sono bravi e la musica è bella.", "it"),
        ("De film was niet goed, maar ik vond het einde heel mooi en het spel ook.", "nl"),
        ("O filme não é bom, mas eu gostei muito da música e dos atores.", "pt"),
        ("Фильм мне очень понравился, хотя он слишком длинный.", "cyrillic"),
        ("这部电影很好看 我非常喜欢", "han"),
        ("この映画はとてもよかったです。", "kana"),
        ("이 영화는 정말 재미있었어요.", "hangul"),
        ("كان الفيلم جميلا جدا", "arabic"),
        ("Η ταινία ήταν υπέροχη", "greek"),  # noqa: RUF001
        ("wow", "unknown"),
        ("", "unknown"),
        ("12345 !!!", "unknown"),
        ("🎬🎬🎬 ⭐⭐⭐", "unknown"),
    ],
)
def test_guesses(text, language):
    assert guess_language(text) == language


def test_a_foreign_title_in_an_english_text_changes_nothing():
    assert guess_language("I saw 'Сталкер' and it was the best film of the year for me.") == "en"


def test_answers_are_bounded():
    assert {"en", "cyrillic", "unknown"} <= set(LANGUAGES)
    assert len(LANGUAGES) == len(set(LANGUAGES)) <= 20


def test_a_long_text_costs_no_more_than_its_beginning():
    assert guess_language("the and of " * 40 + "der die das " * 100_000) == "en"
