"""Python's garbage collector around large imports."""

from __future__ import annotations

import gc

import pytest

from imdb_lightning.config.imports import large_imports


@pytest.fixture(autouse=True)
def _unfrozen():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


def test_collector_rests_and_leaves_out_what_was_made() -> None:
    with large_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(made)


def test_what_a_second_job_leaves_is_collected() -> None:
    with large_imports():
        pass
    frozen = gc.get_freeze_count()
    cycle: list[object] = []
    cycle.append(cycle)
    with large_imports():
        pass
    # What was frozen and is freed since then is no longer counted.
    assert 0 < gc.get_freeze_count() <= frozen
    del cycle
    assert gc.collect() >= 1


def test_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with pytest.raises(ImportError), large_imports():
        raise ImportError
    assert not gc.isenabled()
