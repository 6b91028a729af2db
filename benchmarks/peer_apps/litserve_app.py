"""LitServe: https://github.com/Lightning-AI/LitServe."""

import litserve
from engine import MOST_TOGETHER, WAIT_SECONDS, Engine, options

given = options()


class Api(litserve.LitAPI):
    def setup(self, device):
        self.engine = Engine(given.folder, given.threads)

    def decode_request(self, request):
        return request["text"]

    def predict(self, inputs):
        return self.engine.predict(inputs) if given.batching else self.engine.predict([inputs])[0]

    def encode_response(self, output):
        return {"positive": float(output)}


if __name__ == "__main__":
    more = {"max_batch_size": MOST_TOGETHER, "batch_timeout": WAIT_SECONDS} if given.batching else {}
    server = litserve.LitServer(Api(**more), accelerator="cpu", workers_per_device=given.processes)
    server.run(host="127.0.0.1", port=given.port, generate_client_file=False, log_level="warning")
