"""The fair baseline: FastAPI as its tutorial shows it, a plain function on its thread pool."""

import sys

import uvicorn
from engine import Engine, Options, options, serve
from fastapi import FastAPI
from pydantic import BaseModel


class Text(BaseModel):
    text: str


def app() -> FastAPI:
    given = options()
    engine = Engine(given.folder, given.threads)
    made = FastAPI()

    @made.post("/predict")
    def predict(body: Text) -> dict[str, float]:
        return {"positive": engine.predict([body.text])[0]}

    return made


def run(given: Options) -> None:
    uvicorn.run(
        "fastapi_app:app", factory=True, host="127.0.0.1", port=given.port, log_level="warning",
        workers=given.processes, app_dir=sys.path[0],
    )  # fmt: skip


if __name__ == "__main__":
    serve(run)
