#!/bin/sh
# Submits the build of this checkout to Cloud Build; cloudbuild.yaml tests, deploys and moves the traffic.
#   PROJECT        the Google Cloud project, set up once by `python3 -m deploy setup`
#   REGION         where Cloud Build and Cloud Run work, such as europe-west1
#   SUBSTITUTIONS  more for the build, as _NAME=value,_NAME=value
#   BUILD_ACCOUNT  the service account of the build (default: marquee-build)
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
revision="$(git rev-parse --verify HEAD 2>/dev/null)" || fail "this is no git checkout, and an image is tagged by its commit"
branch="$(git rev-parse --abbrev-ref HEAD)"
# What is deployed is what lies here: a name that says so, where it is not what was committed.
[ -z "$(git status --porcelain)" ] || revision="$revision-changed"

account="${BUILD_ACCOUNT:-marquee-build}@$PROJECT.iam.gserviceaccount.com"
exec gcloud builds submit --project "$PROJECT" --region "$REGION" --config cloudbuild.yaml \
    --service-account "projects/$PROJECT/serviceAccounts/$account" \
    --gcs-source-staging-dir "gs://$PROJECT-marquee-source/source" \
    --substitutions "_REGION=$REGION,_REVISION=$revision,_BRANCH=$branch${SUBSTITUTIONS:+,$SUBSTITUTIONS}" .
