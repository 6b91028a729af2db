"""NVIDIA Triton through PyTriton: https://github.com/triton-inference-server/pytriton. It needs a system's Python."""

import numpy
from engine import MOST_TOGETHER, Engine, Options, serve
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def run(options: Options) -> None:
    engine = Engine(options.folder, options.threads)

    @batch
    def together(text):
        texts = [row[0].decode() for row in text]
        return {"positive": numpy.array(engine.predict(texts), dtype=numpy.float32).reshape(-1, 1)}

    def alone(requests):
        return [
            {"positive": numpy.array(engine.predict([entry.data["text"][0].decode()]), dtype=numpy.float32)}
            for entry in requests
        ]

    # The delay that was best for it, of 0, 2 and 5 ms, at 64 clients.
    config = (
        ModelConfig(
            batching=True,
            max_batch_size=MOST_TOGETHER,
            batcher=DynamicBatcher(max_queue_delay_microseconds=2000),
        )
        if options.batching
        else ModelConfig(batching=False)
    )
    addresses = TritonConfig(
        http_address="127.0.0.1", http_port=options.port, grpc_address="127.0.0.1", grpc_port=options.port + 1,
        allow_metrics=False, exit_on_error=True, log_verbose=0,
    )  # fmt: skip
    with Triton(config=addresses) as triton:
        triton.bind(
            model_name="model",
            infer_func=together if options.batching else alone,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="positive", dtype=numpy.float32, shape=(1,))],
            config=config,
        )
        triton.serve()


if __name__ == "__main__":
    serve(run)
