"""The one shape of an error reply: problem details after RFC 9457, https://www.rfc-editor.org/rfc/rfc9457."""

from pydantic import BaseModel, ConfigDict, Field


class ProblemItem(BaseModel):
    """One thing that is wrong, and where."""

    path: str | None = Field(default=None, description="The field, such as `texts[3]`.")
    position: int | None = Field(default=None, description="Which item of a list, from 0.")
    message: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """An error reply. What was sent is never repeated in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:marquee:problem:invalid-input",
                    "title": "The input is not acceptable",
                    "status": 422,
                    "detail": "texts[1]: Input should be a valid string",
                    "instance": "5f2b0c6de1f94a0cb3a1a3c2a7d0f5aa",
                    "errors": [{"path": "texts[1]", "message": "Input should be a valid string"}],
                }
            ]
        }
    )

    type: str = Field(description="The kind of problem; stays the same between releases.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time, and what to do about it.")
    instance: str = Field(description="The request's id, as in the header X-Request-ID.")
    errors: list[ProblemItem] | None = Field(
        default=None, description="What is wrong where, at most 20 of them."
    )
