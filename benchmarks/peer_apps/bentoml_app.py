"""BentoML: https://github.com/bentoml/BentoML, started as its command line does."""

import os
import sys
from pathlib import Path

import bentoml
from engine import MOST_TOGETHER, Engine, Options, options, serve

given = options()


@bentoml.service(workers=given.processes, traffic={"timeout": 60})
class Sentiment:
    def __init__(self) -> None:
        self.engine = Engine(given.folder, given.threads)

    @bentoml.api(batchable=given.batching, max_batch_size=MOST_TOGETHER, max_latency_ms=60_000)
    def predict(self, texts: list[str]) -> list[float]:
        return self.engine.predict(texts)


def run(given: Options) -> None:
    command = Path(sys.executable).parent / "bentoml"
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.chdir(Path(__file__).parent)
    os.execv(
        command,
        [str(command), "serve", "bentoml_app:Sentiment", "--host", "127.0.0.1", "--port", str(given.port)],
    )


if __name__ == "__main__":
    serve(run)
