"""Builds, deploys and runs the image for real, with Docker and gcloud on this machine and stand-ins for Google."""
