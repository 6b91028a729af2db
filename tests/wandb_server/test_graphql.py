"""The executor and the run filters on their own, without a client."""

from typing import Any

import pytest
from graphql import GraphQLSyntaxError

from tests.wandb_server.filters import UnknownFilterError, matches, ordered
from tests.wandb_server.graphql import Document
from tests.wandb_server.records import Run


def answer(
    text: str, query: dict[str, Any], variables: dict[str, Any] | None = None
) -> tuple[Any, list[str]]:
    """Execute a document on a query root; gives the data and the unknown fields."""
    unknown: list[str] = []
    data = Document(text, variables or {}).execute({"query": query, "mutation": {}}, unknown.append)
    return data, unknown


def test_fields_aliases_lists_and_arguments() -> None:
    query = {"items": lambda a: [{"n": n, "half": n / 2} for n in range(a["first"])], "none": None}
    data, unknown = answer("query Q($k: Int) { many: items(first: $k) { n } none { n } }", query, {"k": 2})
    assert data == {"many": [{"n": 0}, {"n": 1}], "none": None}
    assert unknown == []


def test_an_unknown_field_is_null_and_reported() -> None:
    data, unknown = answer("query Q { a { b c } }", {"a": {"b": 1}})
    assert data == {"a": {"b": 1, "c": None}}
    assert unknown == ["Q:a.c"]


def test_fragments_apply_by_type_and_merge() -> None:
    text = """
    query Q { c { id ...Info ... on ArtifactSequence { s } ... on ArtifactPortfolio { p } project { id } } }
    fragment Info on ArtifactCollection { name project { name } }
    """
    collection = {"__typename": "ArtifactSequence", "id": 1, "name": "n", "s": 2, "p": 3}
    data, unknown = answer(text, {"c": collection | {"project": {"id": 4, "name": "r"}}})
    assert data == {"c": {"id": 1, "name": "n", "s": 2, "project": {"name": "r", "id": 4}}}
    assert unknown == []


@pytest.mark.parametrize(("flag", "fields"), [(True, {"a"}), (False, {"b"})])
def test_include_and_skip(flag: bool, fields: set[str]) -> None:
    data, _ = answer(
        "query Q($f: Boolean) { a @include(if: $f) b @skip(if: $f) }", {"a": 1, "b": 2}, {"f": flag}
    )
    assert set(data) == fields


def test_defaults_and_missing_variables() -> None:
    query = {"show": lambda a: a["input"]}
    text = "query Q($a: Int = 7, $b: Int) { show(input: {a: $a, b: $b, c: [1, null, true, KIND]}) }"
    data, _ = answer(text, query)
    assert data == {"show": {"a": 7, "b": None, "c": [1, None, True, "KIND"]}}


def test_an_empty_operation_name_means_the_first() -> None:
    document = Document("query One { a } query Two { a }", {}, "")
    assert document.name == "One"
    assert Document("query One { a } query Two { a }", {}, "Two").name == "Two"
    assert Document("{ a }", {}).name == "anonymous"


def test_a_broken_document_is_refused() -> None:
    with pytest.raises(GraphQLSyntaxError):
        Document("query {", {})
    with pytest.raises(ValueError, match="no operation"):
        Document("fragment F on T { a }", {})


def run(name: str, **values: Any) -> Run:
    """A run to filter."""
    return Run(name, "acme", "reviews", name, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", **values)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"jobType": "inferences"}, True),
        ({"job_type": {"$ne": "inferences"}}, False),
        ({"$or": [{"group": "x"}, {"group": "r1"}]}, True),
        ({"$nor": [{"group": "r1"}]}, False),
        ({"tags": "a"}, True),
        ({"tags": {"$in": ["b", "c"]}}, False),
        ({"display_name": {"$regex": "^pro"}}, True),
        ({"config.model.version": "v7"}, True),
        ({"config.model.value": {"$exists": True}}, True),
        ({"config.other": {"$exists": False}}, True),
        ({"config.other": None}, True),
        ({"summary_metrics.loss": {"$gt": 0.1, "$lte": 0.5}}, True),
        ({"summary_metrics.loss": {"$gt": "0.1"}}, False),
    ],
)
def test_run_filters(filters: dict[str, Any], wanted: bool) -> None:
    subject = run(
        "one",
        display_name="prod",
        job_type="inferences",
        group="r1",
        tags=["a"],
        config='{"model": {"value": {"version": "v7"}}}',
        summary='{"loss": 0.5}',
    )
    assert matches(subject, filters) is wanted


@pytest.mark.parametrize("filters", [{"grouping": 1}, {"group": {"$like": "a"}}])
def test_an_unknown_filter_is_refused(filters: dict[str, Any]) -> None:
    with pytest.raises(UnknownFilterError):
        matches(run("one"), filters)


def test_runs_without_the_value_come_last() -> None:
    runs = [run("none"), run("low", summary='{"f1": 1}'), run("high", summary='{"f1": 2}')]
    assert [item.name for item in ordered(runs, "-summary_metrics.f1")] == ["high", "low", "none"]
    assert [item.name for item in ordered(runs, None)] == ["none", "low", "high"]
    with pytest.raises(UnknownFilterError):
        ordered(runs, "+loss")
