"""MLServer: https://github.com/SeldonIO/MLServer, started as its command line does, from a folder of settings."""

import json
import os
import sys
import tempfile
from pathlib import Path

from engine import MOST_TOGETHER, WAIT_SECONDS, Engine, Options, options, serve
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Model(MLModel):
    async def load(self) -> bool:
        given = options()
        self.engine = Engine(given.folder, given.threads)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        import numpy

        texts = StringCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("positive", numpy.array(self.engine.predict(texts)).reshape(-1, 1))
        return InferenceResponse(model_name=self.name, outputs=[output])


def run(given: Options) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    server = {
        "host": "127.0.0.1", "http_port": given.port, "grpc_port": given.port + 1, "metrics_port": given.port + 2,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {"name": "model", "implementation": "mlserver_app.Model"}
    if given.batching:
        model |= {"max_batch_size": MOST_TOGETHER, "max_batch_time": WAIT_SECONDS}
    (folder / "settings.json").write_text(json.dumps(server), "utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), "utf-8")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    command = Path(sys.executable).parent / "mlserver"
    os.execv(command, [str(command), "start", str(folder)])


if __name__ == "__main__":
    serve(run)
