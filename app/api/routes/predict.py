"""Predictions: ``POST /predict``, and ``GET /predict?text=`` for a look from the browser."""

import json

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.api.body import read_json, validate
from app.api.documentation import PREDICT_BY_GET_DOCUMENTATION, PREDICT_DOCUMENTATION
from app.api.replies import Counted, json_response, unless_client_leaves
from app.api.service import service_of
from app.core.errors import InvalidFieldsError

router = APIRouter(tags=["predict"])
by_get = APIRouter(tags=["predict"])


@router.post("/predict", operation_id="predict", **PREDICT_DOCUMENTATION)
@router.post("/api/v1/predict", operation_id="predict_v1", **PREDICT_DOCUMENTATION)
async def predict(request: Request) -> Response:
    """Answer one input or a list of them. One that is not acceptable refuses the list and names its position."""
    service = service_of(request)
    with Counted(service.inference), service.lease() as model:
        content = await read_json(request, model.predictor.Request)
        prediction = service.inference.predict(
            content,
            model=model,
            write=json_response,
            request_id=request.state.request_id,
            trace=request.state.trace,
        )
        return await unless_client_leaves(request, prediction)


@by_get.get("/predict", operation_id="predict_by_get", **PREDICT_BY_GET_DOCUMENTATION)
@by_get.get("/api/v1/predict", operation_id="predict_by_get_v1", **PREDICT_BY_GET_DOCUMENTATION)
async def predict_by_get(request: Request) -> Response:
    """Answer one text. Proxies log addresses, so send private texts with POST."""
    service = service_of(request)
    with Counted(service.inference), service.lease() as model:
        texts = request.query_params.getlist("text")
        if len(texts) != 1:
            raise InvalidFieldsError([("text", "give it once, as in /predict?text=I+liked+it")])
        content = validate(model.predictor.Request, json.dumps({"text": texts[0]}))
        prediction = service.inference.predict(
            content,
            model=model,
            write=json_response,
            request_id=request.state.request_id,
            trace=request.state.trace,
        )
        return await unless_client_leaves(request, prediction)


direct = {
    (method, route.path): (route, route.endpoint)
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
}
"""The routes of POST, for `app.api.application`."""
