"""When garbage is looked for. The set-up is the process's, so each case has one of its own."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from app.core import garbage

class Model:
    def __init__(self):
        self.itself = self

for step in (garbage.settle, garbage.settle_again):
    step()
    assert gc.isenabled() and not gc.get_freeze_count(), "nothing was held"
garbage.hold()
assert not gc.isenabled()
model = Model()
seen = weakref.ref(model)
garbage.settle()
assert gc.isenabled()
assert gc.get_freeze_count() > 1_000
del model
gc.collect()
assert seen() is not None, "what was there is searched no more"
garbage.settle_again()
assert seen() is None, "a model that was swapped out goes"
assert gc.get_freeze_count() > 1_000
"""


def test_what_was_loaded_is_searched_only_when_a_model_was_swapped_out():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
