"""``currterm`` as a stop between the steps of its replacement leaves it."""

import pytest

from ledgermq.dledger.member_state import encode_state, load_state
from ledgermq.testing.simulation.disk import SimDisk

PATH = "/g/currterm"


@pytest.mark.parametrize("spare", [".tmp", ".bak"])
def test_what_is_found_beside_gets_its_name_durably(spare: str):
    # Simulator, seed 3505: the next replacement emptied the only copy, and then the power failed.
    disk = SimDisk(1)
    disk.make_directories("/g")
    fd = disk.open(PATH + spare, create=True)
    disk.pwrite(fd, encode_state(7, "n1"), 0)
    disk.close(fd)
    assert load_state(disk, PATH, -1) == (7, "n1")
    disk.power_cut()
    assert load_state(disk, PATH, -1) == (7, "n1")
    assert disk.exists(PATH)
    assert not disk.exists(PATH + spare)
