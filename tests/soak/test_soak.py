"""``make soak``, for as long as a test may take."""

from pathlib import Path

import pytest

from tests.soak.__main__ import soak


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_twenty_seconds_of_everything_at_once_lose_nothing(tmp_path: Path) -> None:
    result = soak(20, seed=3, folder=tmp_path, report=False)
    assert result.outcome.wrong == []
    assert result.outcome.statuses[200] > 50
    assert result.lost == 0
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
