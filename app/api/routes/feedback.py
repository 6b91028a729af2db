"""Feedback: ``POST /api/v1/feedback`` joins the truth to a prediction."""

from fastapi import APIRouter, Request

from app.api.body import read_json
from app.api.documentation import problems
from app.api.service import service_of
from app.models.feedback import FeedbackReply, FeedbackRequest

router = APIRouter(tags=["feedback"])


@router.post(
    "/api/v1/feedback",
    responses=problems(400, 404, 408, 410, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}},
        }
    },
)
async def feedback(request: Request) -> FeedbackReply:
    """Join the right label to a prediction, whichever instance made it; its id says which one it was."""
    service = service_of(request)
    body = await read_json(request, FeedbackRequest)
    predictor = service.server.predictor
    joined = service.feedback.join(body.id, body.label, predictor.labels if predictor else ())
    return FeedbackReply(
        id=body.id,
        label=joined.truth,
        prediction=joined.issued.label,
        right=joined.truth == joined.issued.label,
        confidence=joined.issued.confidence,
        model_version=joined.issued.version,
        counted=joined.counted,
    )
