"""The life of a model before it is served: data, training, evaluation, export, publication."""
