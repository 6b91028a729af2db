"""The least that could answer: FastAPI, the packages of the serving set, the same model file, nothing else.

No registry, no checks, no limits, no log. What Marquee adds is measured against this.
"""

import os
import sys
from pathlib import Path

import fastapi
import loguru  # noqa: F401
import numpy as np
import onnxruntime
import pydantic
import pydantic_settings  # noqa: F401
import uvicorn
from tokenizers import Tokenizer

folder = Path(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
session = onnxruntime.InferenceSession(
    str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
)
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
app = fastapi.FastAPI()


class Text(pydantic.BaseModel):
    text: str


@app.post("/predict")
def predict(body: Text) -> dict[str, float]:
    ids = tokenizer.encode(body.text, add_special_tokens=False).ids
    row = np.array([[101, *ids, 102]], dtype=np.int32)
    (logits,) = session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})
    scores = np.exp(logits[0] - logits[0].max())
    return {"positive": float(scores[1] / scores.sum())}


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
