"""Whatever happens, a row that was answered is in W&B or counted as dropped, by its reason."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.faults.outcome import Outcome
from tests.faults.scenarios import SCENARIOS, run_all

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(600)]

DROPPING = {"the disk full": {"queue-full"}, "the spool full": {"spool-full"}}
"""Where rows must be dropped, and why; nowhere else."""


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Outcome]]]:
    """The faults of the selected tests, several at once."""
    selected = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path.samefile(__file__)
    ]
    with run_all(selected) as running:
        yield running


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_what_was_sent_is_stored_or_counted(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    found = outcomes[name].result(500)
    assert found.sent
    assert found.stored <= found.sent
    assert found.lost == 0
    assert set(found.dropped) == DROPPING.get(name, set())
    for health in found.health:
        assert health["received"] == health["confirmed"] + health["waiting"] + sum(health["dropped"].values())
