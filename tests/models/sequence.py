"""A Keras model for texts: its own TextVectorization, an average of word vectors, one sigmoid."""

from pathlib import Path
from typing import Any, Literal

from app.services.artifact import Manifest
from tests.models.distilbert import NEGATIVE, NEUTRAL, POSITIVE
from tests.models.support import write_text_golden

WORDS = [word for word in (*POSITIVE, *NEGATIVE, *NEUTRAL) if word.isalpha()]


def text_model() -> Any:
    """Return the model; its weights are chosen, not trained."""
    from app.core.tensorflow_runtime import import_tensorflow

    import_tensorflow()
    import keras
    import numpy as np

    layers = keras.layers
    words = keras.Input((1,), dtype="string")
    ids = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=24)(words)
    embedding = layers.Embedding(len(WORDS) + 2, 1)
    score = layers.Dense(1, activation="sigmoid")
    model = keras.Model(words, score(layers.GlobalAveragePooling1D()(embedding(ids))))
    table = np.zeros((len(WORDS) + 2, 1), np.float32)
    for chosen, polarity in ((POSITIVE, 1), (NEGATIVE, -1)):
        for word in chosen:
            table[WORDS.index(word) + 2] = polarity
    embedding.set_weights([table])
    score.set_weights([np.array([[30.0]], np.float32), np.array([-0.1], np.float32)])
    return model


def tiny_keras(folder: Path, kind: Literal["keras", "savedmodel"] = "keras") -> Path:
    """Write ``model.keras`` or a SavedModel with its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    model = text_model()
    if kind == "keras":
        model.save(folder / "model.keras")
    else:
        model.export(str(folder), verbose=False)
    manifest = Manifest(task="text-classification", labels=("negative", "positive"), loader="keras")
    return write_text_golden(folder, manifest, "keras")
