"""Every fault of the list has a test here and a row in docs/reliability.md that names it."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
ROWS = [
    line
    for line in (FOLDER.parents[1] / "docs" / "reliability.md").read_text("utf-8").splitlines()
    if re.match(r"\| B\d\d \|", line)
]
IDS = [
    1, 2, 3, 4, 6, 7, 8, 10, 12, 14, 15, 17, 19, 20, 22, 25, 26, 27, 29, 30, 32, 33, 34, 35, 37, 39, 40, 42, 43, 44,
    45, 47, 49, 50, 51, 52, 55, 56,
]  # fmt: skip
TESTS = [
    (path.name, name)
    for path in FOLDER.glob("test_*.py")
    for name in re.findall(r"^def (test_b\d\d_\w+)", path.read_text("utf-8"), re.MULTILINE)
]


def test_the_list_is_whole():
    assert len(IDS) == 38
    assert [int(row[3:5]) for row in ROWS] == IDS
    assert {int(name[6:8]) for _, name in TESTS} == set(IDS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:5])
def test_a_row_tells_fault_others_us_and_the_test(row):
    number, fault, others, ours, test = (cell.strip() for cell in row.strip("|").split(" | "))
    assert fault
    assert ours
    assert re.search(r"\]\(https://github\.com/[^)]+\)", others)
    (named,) = re.findall(r"`(test_\w+\.py)`", test)
    assert [name for file, name in TESTS if file == named and name.startswith(f"test_{number.lower()}_")]
