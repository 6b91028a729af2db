"""Tiny real models, one for each loader. Each function writes a complete artifact folder and returns it."""

from tests.models.custom import KEYWORD_LOADER, KeywordPredictor, tiny_keyword
from tests.models.distilbert import tiny_distilbert_tf, tiny_onnx
from tests.models.numbers import tiny_tabular
from tests.models.pipeline import tiny_joblib
from tests.models.sequence import tiny_keras
from tests.models.support import model_files, settings_for

__all__ = [
    "KEYWORD_LOADER",
    "KeywordPredictor",
    "model_files",
    "settings_for",
    "tiny_distilbert_tf",
    "tiny_joblib",
    "tiny_keras",
    "tiny_keyword",
    "tiny_onnx",
    "tiny_tabular",
]
