"""Ray Serve: https://github.com/ray-project/ray."""

import os
import time

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")

import ray
from engine import MOST_TOGETHER, WAIT_SECONDS, Engine, Options, options
from ray import serve as ray_serve


def deployment(given: Options):
    environment = {"PEER_OPTIONS": os.environ["PEER_OPTIONS"], "PYTHONPATH": os.path.dirname(__file__)}

    @ray_serve.deployment(
        num_replicas=given.processes,
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 0.5, "runtime_env": {"env_vars": environment}},
    )
    class Sentiment:
        def __init__(self) -> None:
            self.engine = Engine(given.folder, given.threads)

        @ray_serve.batch(max_batch_size=MOST_TOGETHER, batch_wait_timeout_s=WAIT_SECONDS)
        async def together(self, texts: list[str]) -> list[float]:
            return self.engine.predict(texts)

        async def __call__(self, request) -> dict[str, float]:
            text = (await request.json())["text"]
            found = await self.together(text) if given.batching else self.engine.predict([text])[0]
            return {"positive": found}

    return Sentiment.bind()


def run(given: Options) -> None:
    ray.init(
        num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
        object_store_memory=200_000_000,
    )  # fmt: skip
    ray_serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    ray_serve.run(deployment(given), route_prefix="/predict")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    run(options())
