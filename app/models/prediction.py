"""Bodies and replies of ``/predict`` for texts and for rows of numbers. A model class of one's own brings its own."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from app.models.health import ModelIdentity

_LONGEST_NAME = 40
_MOST_NAMES = 3

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Row = Annotated[list[_Number], Field(fail_fast=True)]


def _either_one(schema: dict[str, Any]) -> None:
    """Say in the schema what the validators hold: exactly one of the properties, and no null."""
    properties = schema["properties"]
    for name, value in properties.items():
        given = next(option for option in value.pop("anyOf") if option.get("type") != "null")
        value.pop("default", None)
        properties[name] = value | given
    schema["oneOf"] = [{"required": [name]} for name in properties]
    schema["examples"] = [{name: value["examples"][0]} for name, value in properties.items()]


class _EitherRequest(BaseModel):
    """Exactly one of its two fields. What is refused is never repeated, but for the names of unknown keys."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, json_schema_extra=_either_one
    )

    single: ClassVar[str]
    several: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, content: Any) -> Any:
        unknown = [key for key in content if key not in cls.model_fields] if isinstance(content, dict) else []
        if unknown:
            names = ", ".join(repr(str(key)[:_LONGEST_NAME]) for key in unknown[:_MOST_NAMES])
            more = f" and {len(unknown) - _MOST_NAMES} more" if len(unknown) > _MOST_NAMES else ""
            raise ValueError(f"unknown key {names}{more}: send {cls.single!r} or {cls.several!r}")
        return content

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (getattr(self, self.single) is None) == (getattr(self, self.several) is None):
            raise ValueError(f"send either {self.single!r} or {self.several!r}")
        return self


class TextRequest(_EitherRequest):
    """One text, or a list of texts that are answered in order."""

    single: ClassVar[str] = "text"
    several: ClassVar[str] = "texts"

    text: str | None = Field(
        default=None,
        description="The text, as it was written; HTML is understood.",
        examples=["A warm, funny and beautifully acted film."],
    )
    texts: list[str] | None = Field(
        default=None,
        min_length=1,
        fail_fast=True,
        description="Several texts; one that is not acceptable refuses them all.",
        examples=[["A warm, funny film.", "I walked out after an hour."]],
    )

    @property
    def items(self) -> list[str]:
        """The texts, one or several."""
        return list(self.texts) if self.text is None and self.texts else [self.text or ""]


class TextPrediction(BaseModel):
    """What the model says of one text."""

    id: str = Field(
        description="The key of this prediction's row in the inference log; feedback refers to it."
    )
    text: str = Field(description="The text as it was sent.")
    sentiment: str = Field(description="The label with a capital first letter.", examples=["Positive"])
    confidences: dict[str, float] = Field(
        description="A probability for each label; empty for a model that gives none.",
        examples=[{"negative": 0.02, "positive": 0.98}],
    )
    tokens: int = Field(
        description="Tokens of the text, special ones not counted; words where there is no tokenizer."
    )
    windows: int = Field(description="Overlapping pieces that the text was read in.")
    truncated: bool = Field(
        description="Whether the middle of the text was left out, since it has too many windows."
    )


class TextResponse(TextPrediction):
    """The reply to one text."""

    model: ModelIdentity


class TextListResponse(BaseModel):
    """The reply to a list of texts, in the order of the list."""

    id: str = Field(description="The request's id.")
    predictions: list[TextPrediction]
    model: ModelIdentity


class TextReply(RootModel[TextResponse | TextListResponse]):
    """The reply to ``text``, or the one to ``texts``."""


class TabularRequest(_EitherRequest):
    """One row of finite numbers, or a list of rows that are answered in order."""

    single: ClassVar[str] = "features"
    several: ClassVar[str] = "instances"

    features: _Row | None = Field(
        default=None,
        description="The numbers, in the order of the training data's columns.",
        examples=[[5.1, 3.5, 1.4, 0.2]],
    )
    instances: list[_Row] | None = Field(
        default=None,
        min_length=1,
        fail_fast=True,
        description="Several rows; one that is not acceptable refuses them all.",
        examples=[[[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]],
    )

    @property
    def items(self) -> list[list[float]]:
        """The rows, one or several."""
        return list(self.instances) if self.features is None and self.instances else [self.features or []]


class TabularPrediction(BaseModel):
    """What the model says of one row."""

    id: str = Field(description="The key of this prediction's row in the inference log.")
    label: str | None = Field(default=None, description="The class; absent for a regressor.")
    confidences: dict[str, float] | None = Field(
        default=None, description="A probability for each class; empty for a model that gives none."
    )
    value: float | None = Field(
        default=None, description="What a regressor answers; absent for a classifier."
    )


class TabularResponse(TabularPrediction):
    """The reply to one row."""

    model: ModelIdentity


class TabularListResponse(BaseModel):
    """The reply to a list of rows, in the order of the list."""

    id: str = Field(description="The request's id.")
    predictions: list[TabularPrediction]
    model: ModelIdentity


class TabularReply(RootModel[TabularResponse | TabularListResponse]):
    """The reply to ``features``, or the one to ``instances``."""
