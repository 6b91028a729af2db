"""One engine in a process of its own, in whatever environment has it: needs numpy and that engine, no project code.

``engine_worker.py KIND FILE THREADS`` prints ``ready``, then answers each line of JSON on standard input by a line:
``{"tokens": 64, "batch": 8, "seconds": 1}`` by the tokens a second of the fastest run, and, for the kinds ``gemm-…``,
``{"file": …, "rows": …, "inner": …, "columns": …, "seconds": 1}`` by 10^9 operations a second of the fastest product.
"""

import json
import sys
import time

import numpy

WORDS = 30_000


def onnx(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def openvino(path, threads, quantized=False):
    import openvino as ov

    model = ov.Core().read_model(path)
    if quantized:
        import nncf

        nncf.set_log_level(40)
        generator = numpy.random.default_rng(3)
        samples = [texts(generator, 1, 64) for _ in range(16)]
        model = nncf.quantize(
            model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples)
        )
    compiled = ov.Core().compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()
    return lambda feed: request.infer(feed)


def tensorflow(width, threads):
    import os

    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification

    config = DistilBertConfig(dim=int(width), hidden_dim=4 * int(width), n_layers=6, n_heads=12)
    model = TFDistilBertForSequenceClassification(config)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2)
    def call(ids, mask):
        return model(ids, attention_mask=mask, training=False).logits

    return lambda feed: call(*(tf.constant(feed[name]) for name in ("input_ids", "attention_mask"))).numpy()


def texts(generator, batch, tokens):
    ids = generator.integers(0, WORDS, (batch, tokens)).astype(numpy.int32)
    return {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}


def fastest(call, seconds):
    """Return the seconds of the fastest call; three at least, and as many as fit."""
    call()
    found, end = [], time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def main():
    kind, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    makers = {
        "onnx": onnx,
        "openvino": openvino,
        "openvino-int8": lambda path, threads: openvino(path, threads, quantized=True),
        "tensorflow": tensorflow,
    }
    generator = numpy.random.default_rng(5)
    run = None if kind.startswith("gemm-") else makers[kind](path, threads)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if run is not None:
            feed = texts(generator, job["batch"], job["tokens"])
            rate = job["batch"] * job["tokens"] / fastest(lambda feed=feed: run(feed), job["seconds"])
        else:
            product = makers[kind.removeprefix("gemm-")](job["file"], threads)
            left = generator.integers(0, 128, (job["rows"], job["inner"]))
            left = left.astype(numpy.uint8 if job["precision"] == "int8" else numpy.float32)
            operations = 2 * job["rows"] * job["inner"] * job["columns"]
            rate = operations / fastest(lambda p=product, x=left: p({"left": x}), job["seconds"]) / 1e9
        print(json.dumps(rate), flush=True)


if __name__ == "__main__":
    main()
