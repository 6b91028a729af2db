"""When Python looks for cycles of garbage. A process with a model holds hundreds of thousands of objects that live as
long as it does; walking through them took a fifth of a small model's time under load, in pauses of up to half a second.
"""

import gc

_YOUNG = 10_000
"""Objects made before the youngest are looked through; Python's 700 are a handful of requests."""


def hold() -> None:
    """Do not look for garbage while modules and the model are loaded."""
    gc.disable()


def settle() -> None:
    """Leave out of every search what is there now, modules and the model, and look for garbage again.

    Does nothing where nothing was held: a process that others run keeps its own ways.
    """
    if gc.isenabled():
        return
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    gc.enable()


def settle_again() -> None:
    """Find the cycles of what was in use before, such as a model that was swapped out; then settle.

    Does nothing where nothing was settled.
    """
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
        gc.freeze()
