#!/bin/sh
# The images of a push, in Google's docker builder:
#   image.sh build test       the code with its tests and their tools, as IMAGE-tools
#   image.sh build serving    the server; with RELEASE_BAKE_MODEL=on the planned model version is put inside
#   image.sh push             both, under the commit, and under `cache` for the next build
set -eu

command="$1"
: "${RELEASE_IMAGE_URL:?_IMAGE_URL is empty}" "${RELEASE_REVISION:?_REVISION is empty: a push sets the commit, else give it}"
mkdir -p .release
# Which of two builds is the later one is told by their starts.
[ -e .release/started ] || date -u +%Y%m%d-%H%M%S >.release/started
if [ -e .release/nothing ]; then
    echo "nothing to do: $(cat .release/nothing)"
    exit 0
fi

# Pulled first: from the registry alone, BuildKit takes the layers but leaves them out of the next build's inline cache,
# so that every other build would begin from nothing.
pull_cache() {
    docker pull --quiet "$1:cache" >/dev/null 2>&1 || echo "no cache from $1:cache: it is not there, or cannot be pulled"
}

build() {
    stage="$1"
    name="$2"
    shift 2
    pull_cache "$name"
    DOCKER_BUILDKIT=1 docker build --target "$stage" --tag "$name:$RELEASE_REVISION" --tag "$name:cache" \
        --cache-from "$RELEASE_IMAGE_URL-tools:cache" --cache-from "$RELEASE_IMAGE_URL:cache" \
        --build-arg BUILDKIT_INLINE_CACHE=1 --build-arg "EXTRAS=${RELEASE_EXTRAS:-}" \
        --build-arg "REVISION=$RELEASE_REVISION" "$@" .
}

case "$command ${2:-}" in
    "build test")
        build test "$RELEASE_IMAGE_URL-tools"
        ;;
    "build serving")
        set --
        if [ "${RELEASE_BAKE_MODEL:-off}" = on ]; then
            while IFS= read -r argument; do
                set -- "$@" --build-arg "$argument"
            done <.release/bake-arguments
            set -- "$@" --build-arg BAKE_MODEL=on --secret id=wandb_api_key,env=WANDB_API_KEY
        fi
        build serving "$RELEASE_IMAGE_URL" "$@"
        ;;
    "push ")
        for name in "$RELEASE_IMAGE_URL-tools" "$RELEASE_IMAGE_URL"; do
            docker push --quiet --all-tags "$name"
        done
        ;;
    *)
        echo "image.sh: build test, build serving or push" >&2
        exit 2
        ;;
esac
