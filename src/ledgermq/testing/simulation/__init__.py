"""A whole DLedger group in one deterministic simulation: ``python -m ledgermq.testing.simulation --help``.

A seed makes everything: the group's size, which faults there are and when they come, every delay and every
death. Real is the core (``ledgermq.dledger.core``), in some runs the ledger's files and the stores of brokers
too; simulated are time, network, disk and the driver between them.
"""

from ledgermq.testing.simulation.simulation import Outcome, Simulation, simulate, simulate_brokers

__all__ = ["Outcome", "Simulation", "simulate", "simulate_brokers"]
