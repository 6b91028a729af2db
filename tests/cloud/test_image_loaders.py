"""Every loader inside the image: what it answers is what the model answered where it was made."""

import importlib.util
import os
from pathlib import Path

import pytest

from tests.cloud.container import Container, Terms, byte_count
from tests.models import model_files, settings_for, tiny_distilbert_tf, tiny_joblib, tiny_keras
from tests.wandb_server import WandbServer

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

TEXTS = ["A superb cast, and the music was wonderful.", "The worst of it was the slow plot."]
MAKERS = {"joblib": tiny_joblib, "keras": tiny_keras, "transformers": tiny_distilbert_tf}


@pytest.fixture(scope="module")
def tensorflow_image(docker_engine: None) -> str:
    """An image with every loader, made before: to build it takes minutes and 2.5 GB."""
    name = os.environ.get("TEST_TENSORFLOW_IMAGE", "")
    if not name:
        pytest.skip(
            "no image with TensorFlow: docker build --build-arg EXTRAS=tensorflow, and name it in "
            "TEST_TENSORFLOW_IMAGE"
        )
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip(
            "TensorFlow is not installed here, and the models are made with it: make install-tensorflow"
        )
    return name


def test_default_image_serves_a_scikit_learn_pipeline(
    image: str, wandb_service: WandbServer, tmp_path: Path
) -> None:
    serve("joblib", image, "1Gi", wandb_service, tmp_path)


@pytest.mark.parametrize("loader", ["keras", "transformers", "joblib"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_image_with_tensorflow_serves(
    loader: str, tensorflow_image: str, wandb_service: WandbServer, tmp_path: Path
) -> None:
    serve(loader, tensorflow_image, "2Gi", wandb_service, tmp_path)


def serve(loader: str, image: str, memory: str, wandb: WandbServer, folder: Path) -> None:
    """Publish a tiny model, serve it under the contract, compare its answers, and stop it by SIGTERM."""
    from app.services.predictor import load_predictor

    MAKERS[loader](folder)
    made = load_predictor(model_files(folder), settings_for(loader))
    expected = made.predict(made.prepare(TEXTS))
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    published = wandb.publish(f"{wandb.entity}/reviews/tiny-{loader}", files)
    environment = {
        "PROJECT_NAME": "reviews", "WANDB_ENTITY": wandb.entity, "WANDB_BASE_URL": wandb.url,
        "LOCAL_MODEL_NAME": f"tiny-{loader}", "MODEL_VERSION": "v0", "MODEL_DIGEST": published.digest,
        "MODEL_LOADER": loader, "INFERENCE_LOG": "false",
    }  # fmt: skip
    terms = Terms(memory=memory, environment=environment, secrets={"WANDB_API_KEY": wandb.api_key})
    with Container(image, terms) as container:
        seconds = container.wait_until_ready()
        _, health = container.ask("GET", "/api/v1/health")
        assert (health["check"]["kind"], health["model"]["digest"]) == ("golden", published.digest)
        status, reply = container.ask("POST", "/predict", {"texts": TEXTS})
        assert status == 200, reply
        for answer, output in zip(reply["predictions"], expected, strict=True):
            assert answer["sentiment"].lower() == output.label
            assert answer["confidences"] == pytest.approx(output.confidences, abs=1e-5)
        now, most = container.memory()
        stop = container.stop()
        assert (stop.exit_code, stop.out_of_memory) == (0, False), container.logs[-2000:]
    print(
        f"{loader}: ready after {seconds:.1f} s, {now / 2**20:.0f} MiB, at most {most / 2**20:.0f} MiB of {memory}, "
        f"stopped after {stop.seconds:.1f} s"
    )
    assert most < 0.75 * byte_count(memory)
