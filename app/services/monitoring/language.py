"""A light guess at the language of a text: by script, then by the commonest little words. No library, microseconds."""

import unicodedata

_CHARACTERS = 200
_SCRIPTS = {
    "ARABIC": "arabic",
    "CJK": "han",
    "CYRILLIC": "cyrillic",
    "DEVANAGARI": "devanagari",
    "GREEK": "greek",
    "HANGUL": "hangul",
    "HEBREW": "hebrew",
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "THAI": "thai",
}
_LITTLE_WORDS = {
    "de": "der die und das ist nicht ein eine ich mit auf den zu von sehr war auch aber für",
    "en": "the and of to is it this that was in i but not for with a so my are you be on at",
    "es": "el los las que y es una por con para muy pero del se lo como está esta",
    "fr": "le les des est et une que je pas pour dans ce qui très mais sur avec c l d",
    "it": "il che di è e non un una per con molto sono ma della gli questo mi",
    "nl": "het een en van is niet dat ik op te zijn met voor maar ook heel deze",
    "pt": "o os que e é um uma não para com muito mas do da em por eu isso",
}
UNKNOWN = "unknown"
LANGUAGES = (*sorted(_LITTLE_WORDS), *sorted(set(_SCRIPTS.values())), UNKNOWN)
"""All that `guess_language` may answer."""

_BY_WORD: dict[str, list[str]] = {}
for _language, _words in _LITTLE_WORDS.items():
    for _word in _words.split():
        _BY_WORD.setdefault(_word, []).append(_language)


def guess_language(text: str) -> str:
    """Return a language's code, the script's name where no Latin letters are used, or ``unknown``.

    Only the first 200 characters are read. Short texts without a little word are ``unknown``.
    """
    part = text[:_CHARACTERS]
    if not part.isascii() and (script := _script(part)):
        return script
    votes: dict[str, float] = {}
    for word in part.lower().split():
        if found := _BY_WORD.get(word):
            for language in found:
                votes[language] = votes.get(language, 0.0) + 1 / len(found)
    return max(sorted(votes), key=votes.__getitem__) if votes else UNKNOWN


def _script(text: str) -> str | None:
    """Return the script of most letters; None for Latin, or where no letter tells."""
    counts: dict[str, int] = {}
    letters = 0
    for letter in text:
        if letter.isalpha():
            letters += 1
            if letter > "\u024f":
                name = _SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0])
                if name:
                    counts[name] = counts.get(name, 0) + 1
    if not counts:
        return None
    script = max(sorted(counts), key=counts.__getitem__)
    return script if 2 * counts[script] > letters else None
