"""TensorFlow, imported when somebody needs it and set up before its first use."""

import os
from typing import Any


class TensorFlowMissingError(ImportError):
    """TensorFlow is not installed; the message says which extra brings it."""


def import_tensorflow(threads: int | None = None) -> Any:
    """Import TensorFlow so that transformers' classes find the Keras generation they were written for.

    Args:
        threads: cores for one operation; TensorFlow's own choice where None. Only the first call counts,
            since TensorFlow fixes its threads at its first operation.

    Raises:
        TensorFlowMissingError: it is not installed.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow
    except ModuleNotFoundError as error:
        raise TensorFlowMissingError(
            f"{error.name} is not installed: this model needs the 'tensorflow' extra (make install-tensorflow)"
        ) from error
    if threads is not None:
        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # Already in use: the threads stay as they are.
            return tensorflow
    return tensorflow
