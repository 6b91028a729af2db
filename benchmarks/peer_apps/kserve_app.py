"""KServe's own server: https://github.com/kserve/kserve (python/kserve). Its batcher is a sidecar of a cluster."""

from typing import Any

import kserve
from engine import Engine, Options, serve


class Model(kserve.Model):
    def __init__(self, engine: Engine) -> None:
        super().__init__("model")
        self.engine = engine
        self.ready = True

    async def predict(
        self, payload: Any, headers: Any = None, response_headers: Any = None
    ) -> dict[str, Any]:
        return {"predictions": self.engine.predict(payload["instances"])}


def run(options: Options) -> None:
    server = kserve.ModelServer(
        http_port=options.port,
        enable_grpc=False,
        enable_docs_url=False,
        access_log_format=None,
        workers=options.processes,
    )
    server.start([Model(Engine(options.folder, options.threads))])


if __name__ == "__main__":
    serve(run)
