"""The fair baseline: FastAPI as its tutorial shows it, a plain function on its thread pool."""

import uvicorn
from engine import Engine, Options, serve
from fastapi import FastAPI
from pydantic import BaseModel


class Text(BaseModel):
    text: str


def run(options: Options) -> None:
    engine = Engine(options.folder, options.threads)
    app = FastAPI()

    @app.post("/predict")
    def predict(body: Text) -> dict[str, float]:
        return {"positive": engine.predict([body.text])[0]}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


serve(run)
