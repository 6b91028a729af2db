"""How a model gets traffic: `python3 -m deploy COMMAND`, called by the steps of both build files.

Only the standard library is used, so that the commands run beside gcloud in Google's own image. What needs the
project's dependencies runs in the project's images, by `docker run`.
"""
