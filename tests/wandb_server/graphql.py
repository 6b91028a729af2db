"""A lenient GraphQL executor: graphql-core parses, and this walks the selections over dicts and callables.

There is no schema to keep in step with the client. A field that a dict lacks is answered with null and
reported, so that a test can see what was asked in vain.
"""

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    value_from_ast_untyped,
)

Resolver = Callable[[dict[str, Any]], Any]
"""Computes a field from its arguments."""

_INTERFACES = {"ArtifactCollection": {"ArtifactSequence", "ArtifactPortfolio"}}


class Document:
    """One parsed request: the operation that was asked for, its fragments and its variables."""

    def __init__(self, text: str, variables: Mapping[str, Any], operation_name: str | None = None) -> None:
        """Parse a document. Raises GraphQLSyntaxError, and ValueError when it holds no operation.

        The client sends an empty `operationName` with half of its queries, so a name that fits no operation
        is ignored and the first operation taken.
        """
        definitions = parse(text).definitions
        operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
        if not operations:
            raise ValueError("the document has no operation")
        named = (node for node in operations if node.name and node.name.value == operation_name)
        self._operation = next(named, operations[0])
        self._fragments = {n.name.value: n for n in definitions if isinstance(n, FragmentDefinitionNode)}
        self._variables = self._given_or_default(variables)

    @property
    def name(self) -> str:
        """The operation's name, `anonymous` when it has none."""
        return self._operation.name.value if self._operation.name else "anonymous"

    def execute(
        self, roots: Mapping[str, Mapping[str, Any]], unknown: Callable[[str], None]
    ) -> dict[str, Any]:
        """Answer the operation from `roots["query"]` or `roots["mutation"]`.

        `unknown` is called with `Operation:path.to.field` for each field that no dict had. What a resolver
        raises is passed on.
        """
        answer: dict[str, Any] = {}
        root = roots[self._operation.operation.value]
        self._select(root, self._operation.selection_set, (), answer, unknown)
        return answer

    def _given_or_default(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for definition in self._operation.variable_definitions or ():
            name = definition.variable.name.value
            if name in given:
                values[name] = given[name]
            elif definition.default_value is not None:
                values[name] = value_from_ast_untyped(definition.default_value)
            else:
                values[name] = None
        return values

    def _arguments(self, node: FieldNode) -> dict[str, Any]:
        return {
            argument.name.value: value_from_ast_untyped(argument.value, self._variables)
            for argument in node.arguments or ()
        }

    def _included(self, node: FieldNode | FragmentSpreadNode | InlineFragmentNode) -> bool:
        for directive in node.directives or ():
            (argument,) = directive.arguments or ()
            if bool(value_from_ast_untyped(argument.value, self._variables)) is (
                directive.name.value == "skip"
            ):
                return False
        return True

    def _select(
        self,
        value: Mapping[str, Any],
        selections: SelectionSetNode,
        path: tuple[str, ...],
        answer: dict[str, Any],
        unknown: Callable[[str], None],
    ) -> dict[str, Any]:
        for node in selections.selections:
            if not isinstance(node, FieldNode | FragmentSpreadNode | InlineFragmentNode):
                continue
            if not self._included(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                answer[key] = self._field(value, node, (*path, node.name.value), answer.get(key), unknown)
            else:
                fragment = self._fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
                if _applies(fragment, value.get("__typename")):
                    self._select(value, fragment.selection_set, path, answer, unknown)
        return answer

    def _field(
        self,
        parent: Mapping[str, Any],
        node: FieldNode,
        path: tuple[str, ...],
        earlier: Any,
        unknown: Callable[[str], None],
    ) -> Any:
        name = node.name.value
        if name not in parent:
            unknown(f"{self.name}:{'.'.join(path)}")
            return None
        value = parent[name]
        if callable(value):
            value = value(self._arguments(node))
        return self._complete(value, node, path, earlier, unknown)

    def _complete(
        self, value: Any, node: FieldNode, path: tuple[str, ...], earlier: Any, unknown: Callable[[str], None]
    ) -> Any:
        if value is None or node.selection_set is None:
            return value
        if isinstance(value, list):
            return [self._complete(item, node, path, None, unknown) for item in value]
        answer = earlier if isinstance(earlier, dict) else {}
        return self._select(value, node.selection_set, path, answer, unknown)


def _applies(fragment: FragmentDefinitionNode | InlineFragmentNode, typename: str | None) -> bool:
    if fragment.type_condition is None or typename is None:
        return True
    condition = fragment.type_condition.name.value
    return typename in _INTERFACES.get(condition, {condition})
