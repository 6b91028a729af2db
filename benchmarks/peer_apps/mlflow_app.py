"""MLflow's scoring server: https://github.com/mlflow/mlflow. It has no batching of its own."""

import os
import sys
import tempfile
from pathlib import Path

import mlflow.pyfunc
from engine import Engine, Options, options, serve


class Sentiment(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        given = options()
        self.engine = Engine(given.folder, given.threads)

    def predict(self, context, model_input, params=None):
        return self.engine.predict([str(text) for text in model_input.ravel()])


def run(given: Options) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlflow-"))
    here = Path(__file__).parent
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=Sentiment(),
        code_paths=[str(here / "engine.py"), __file__],
        pip_requirements=[],
    )
    os.environ["PYTHONPATH"] = str(here)
    os.chdir(folder)
    command = Path(sys.executable).parent / "mlflow"
    arguments = ["models", "serve", "-m", str(folder / "model"), "--env-manager", "local"]
    arguments += ["--workers", str(given.processes)]
    os.environ["PATH"] = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    os.execv(command, [str(command), *arguments, "-h", "127.0.0.1", "-p", str(given.port)])


if __name__ == "__main__":
    serve(run)
