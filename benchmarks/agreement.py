"""Does the server answer what the trained model answers? Reviews through HTTP against TensorFlow called directly."""

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "checkpoint", type=Path, help="a TensorFlow DistilBERT folder with its tokenizer.json"
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled texts (.parquet, .csv)")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--loader", default="transformers")


def run(arguments: argparse.Namespace) -> int:
    """Print the accuracy over HTTP and how often the two agree; exit code 1 where a label differs."""
    from app.core.tensorflow_runtime import import_tensorflow
    from app.services.text import TextEncoder, WindowPolicy
    from benchmarks.server import Server
    from ml import dataset
    from ml.metrics import probabilities
    from ml.train import predict_logits

    data = dataset.load(arguments.data).sample(arguments.rows, 11)
    started = time.perf_counter()
    with Server(
        MODEL_SOURCE="local",
        LOCAL_MODEL_DIR=str(arguments.checkpoint.resolve().parent),
        LOCAL_MODEL_NAME=arguments.checkpoint.name,
        MODEL_LOADER=arguments.loader,
        REQUEST_TIMEOUT_SECONDS="300",
        MAX_WAITING="1000",
    ) as server:
        replies = asyncio.run(server.ask_all(data.texts, arguments.clients))
    seconds = time.perf_counter() - started
    served = np.array(
        [[reply["confidences"]["negative"], reply["confidences"]["positive"]] for reply in replies]
    )
    import_tensorflow()
    from transformers import TFDistilBertForSequenceClassification

    model = TFDistilBertForSequenceClassification.from_pretrained(str(arguments.checkpoint))
    encoder = TextEncoder.from_file(arguments.checkpoint / "tokenizer.json", WindowPolicy())
    direct = probabilities(predict_logits(model, encoder, data.texts))
    differing = int((served.argmax(axis=1) != direct.argmax(axis=1)).sum())
    print("| | |\n|---|---:|")
    print(f"| reviews | {len(data)} |")
    print(f"| accuracy over HTTP | {(served.argmax(axis=1) == data.labels).mean():.2%} |")
    print(f"| accuracy of TensorFlow called directly | {(direct.argmax(axis=1) == data.labels).mean():.2%} |")
    print(f"| labels that differ | {differing} |")
    print(f"| largest difference of a probability | {np.abs(served - direct).max():.2e} |")
    print(f"| start of the server and all replies | {seconds:.0f} s |")
    return 1 if differing else 0
