# The model server's image, for any model: start-up pulls the version that the environment pins. Needs BuildKit.
#
#   docker build --target serving .                                  without TensorFlow
#   docker build --build-arg EXTRAS=tensorflow --target serving .    every loader
#   docker build --target test .                                     with ml/, the tests and their tools
#
# BAKE_MODEL=on puts one version of the registry inside; docs/image.md tells how.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG BAKE_MODEL=off

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /marquee

# What the lock names, by hash, and nothing that would have to be compiled or run to be installed.
FROM base AS dependencies
ARG EXTRAS=""
RUN python -m venv --without-pip /opt/venv
COPY requirements/serving.txt requirements/tensorflow.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /usr/local/bin/python -m pip --python /opt/venv/bin/python install --no-compile --only-binary :all: \
        --require-hashes --requirement "requirements/${EXTRAS:-serving}.txt"

# The same without what a server never opens: tests, headers and stubs; ONNX Runtime's library for C programs (its
# Python module holds the same code again) and its exporters; W&B's terminal monitor and its reader of exported
# histories. Then bytecode, since the server can write none; unchecked, because its sources never change.
FROM dependencies AS packages
WORKDIR /opt/venv/lib/python3.11/site-packages
RUN find numpy scipy sklearn -type d -name tests -prune -exec rm -r {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -name '*.a' \) -delete \
    && rm -r onnxruntime/capi/libonnxruntime.so.* onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
    && rm wandb/bin/wandb-symon wandb/bin/librust_parquet_ffi.so \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM base AS code
COPY app app
RUN chmod -R a+rX,go-w app \
    && python -m compileall -q --invalidation-mode unchecked-hash app

# One version of the registry, pulled and verified by the server's own code. The key is a secret of the build: it is
# in no layer, no argument and no log.
FROM dependencies AS baking
COPY app app
ARG WANDB_BASE_URL=""
ARG WANDB_ENTITY=""
ARG PROJECT_NAME=""
ARG MODEL_NAME=""
ARG MODEL_VERSION=""
ARG MODEL_DIGEST=""
RUN --mount=type=secret,id=wandb_api_key,required=true \
    WANDB_API_KEY="$(cat /run/secrets/wandb_api_key)" \
    MODEL_SOURCE=wandb LOCAL_MODEL_NAME="$MODEL_NAME" LOCAL_MODEL_DIR=/models STATE_DIR=/tmp/state \
    python -m app.services.registry pull \
    && chmod -R a+rX,go-w /models

# The machine under the server: the base without pip, its spare parts and translations, the standard library compiled.
FROM base AS machine
RUN /usr/local/bin/python -m pip uninstall --quiet --yes pip setuptools \
    && rm -rf /root/.cache /usr/local/include /usr/share/doc /usr/share/locale /usr/share/man \
        /usr/local/lib/python3.11/ensurepip /usr/local/lib/python3.11/idlelib /usr/local/lib/python3.11/lib2to3 \
        /usr/local/lib/python3.11/tkinter /usr/local/lib/python3.11/turtledemo \
    && /usr/local/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x /site-packages/ /usr/local/lib/python3.11 \
    && groupadd --gid 10001 marquee \
    && useradd --uid 10001 --gid marquee --no-create-home --home-dir /tmp --shell /usr/sbin/nologin marquee

# All in one layer, so that what was removed is gone and not only hidden: the point of the rule that is set aside here.
FROM scratch AS runtime
# hadolint ignore=DL3067
COPY --from=machine / /
COPY --from=packages /opt/venv /opt/venv
WORKDIR /marquee
COPY ml/model/embedded ml/model/embedded
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8080 \
    BAKED_MODEL_DIR=/models \
    LOCAL_MODEL_DIR=/tmp/marquee/models \
    STATE_DIR=/tmp/marquee/state

FROM runtime AS model-off

FROM runtime AS model-on
COPY --from=baking /models /models

# Lint, tests and `python -m ml accept` run here, on the dependencies that are served.
FROM dependencies AS test
COPY requirements/test.txt requirements/
ARG EXTRAS=""
RUN --mount=type=cache,target=/root/.cache/pip \
    for set in test ${EXTRAS}; do \
        /usr/local/bin/python -m pip --python /opt/venv/bin/python install --no-compile --only-binary :all: \
            --require-hashes --requirement "requirements/$set.txt" || exit 1; \
    done \
    && python -m compileall -q -j 0 /opt/venv/lib/python3.11/site-packages \
    && groupadd --gid 10001 marquee \
    && useradd --uid 10001 --gid marquee --create-home marquee \
    && chown marquee:marquee /marquee
COPY --chown=10001:10001 . .
USER 10001:10001
ENV PYTHONDONTWRITEBYTECODE=""
CMD ["python", "-m", "pytest", "-m", "not tensorflow and not cloud"]

# hadolint ignore=DL3006
FROM model-${BAKE_MODEL} AS serving
COPY --from=code /marquee/app /marquee/app
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-m", "app.healthcheck"]
CMD ["python", "-m", "app"]
ARG SOURCE=""
ARG REVISION=""
ARG MODEL_NAME=""
ARG MODEL_VERSION=""
ARG MODEL_DIGEST=""
LABEL org.opencontainers.image.title="Marquee" \
      org.opencontainers.image.description="A FastAPI model server for the models of a W&B registry" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.revision="$REVISION" \
      marquee.model.name="$MODEL_NAME" \
      marquee.model.version="$MODEL_VERSION" \
      marquee.model.digest="$MODEL_DIGEST"
