"""Body and reply of ``/api/v1/feedback``."""

from pydantic import BaseModel, ConfigDict, Field


class FeedbackRequest(BaseModel):
    """The truth about one prediction."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    id: str = Field(
        description="The `id` of a prediction, as the reply gave it.", min_length=1, max_length=400
    )
    label: str = Field(
        description="The right label; upper and lower case do not matter.",
        examples=["positive"],
        min_length=1,
        max_length=200,
    )


class FeedbackReply(BaseModel):
    """The prediction that the truth was joined to."""

    id: str
    label: str = Field(description="The truth, as the model calls it.")
    prediction: str = Field(description="What had been predicted.")
    right: bool
    confidence: float | None
    model_version: str
    counted: bool = Field(description="False when this instance had feedback for the id before.")
