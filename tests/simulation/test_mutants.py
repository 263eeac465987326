"""The simulator bites: it finds every rule that is taken out, within a bounded number of runs."""

from __future__ import annotations

import pytest
from tests.simulation.mutants import HUNTS, Hunt

from ledgermq.runtime.build import is_compiled
from ledgermq.testing.simulation import simulate


@pytest.mark.slow
@pytest.mark.skipif(is_compiled(), reason="nobody can change a method of a compiled class")
@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt.mutant.__name__)
def test_a_missing_rule_is_noticed(hunt: Hunt, monkeypatch: pytest.MonkeyPatch):
    hunt.mutant(monkeypatch)
    assert any(simulate(seed, hunt.faults).violation is not None for seed in hunt.seeds)
