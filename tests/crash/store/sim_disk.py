"""The simulated disk, which is shipped with the simulator."""

from ledgermq.testing.simulation.disk import PowerCut, SimDisk

__all__ = ["PowerCut", "SimDisk"]
