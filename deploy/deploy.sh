#!/bin/sh
# Submits the build of this checkout to Cloud Build; cloudbuild.yaml tests, deploys and moves the traffic.
#   PROJECT        the Google Cloud project
#   REGION         where Cloud Build and Cloud Run work, such as europe-west1
#   SUBSTITUTIONS  more for the build, as _NAME=value,_NAME=value
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make deploy: $1" >&2
    exit 1
}

[ -n "${PROJECT:-}" ] || fail "PROJECT is not set: PROJECT=my-project REGION=europe-west1 make deploy"
[ -n "${REGION:-}" ] || fail "REGION is not set: PROJECT=$PROJECT REGION=europe-west1 make deploy"
[ -f cloudbuild.yaml ] || fail "there is no cloudbuild.yaml in this checkout, so there is no build to submit"
command -v gcloud >/dev/null 2>&1 || fail "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
[ -n "$(gcloud config get-value account 2>/dev/null)" ] || fail "gcloud has no account: gcloud auth login"

exec gcloud builds submit --project "$PROJECT" --region "$REGION" --config cloudbuild.yaml \
    --substitutions "_REGION=$REGION${SUBSTITUTIONS:+,$SUBSTITUTIONS}" .
