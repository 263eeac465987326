"""A name server and a broker in this process, for tests.

The real ones, with small files: nothing is simulated. What a test sends goes through sockets on loopback and
into files under its folder, so clients in any language can be tested with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from ledgermq.broker.broker import Broker
from ledgermq.nameserver.server import NameServer
from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_sources import Assignment, ConfigError, load

ANY_DISK: Final = {
    "diskMaxUsedSpaceRatio": "99",
    "diskSpaceCleanForciblyRatio": "99",
    "diskSpaceWarningLevelRatio": "100",
}
"""Settings for a test machine's disk, which may be full enough for a real broker to refuse messages."""
BROKER_DEFAULTS: Final = {
    "brokerName": "local-broker",
    "brokerIP1": "127.0.0.1",
    # Small files: a broker starts in milliseconds and takes 10 MB of disk.
    "mappedFileSizeCommitLog": str(8 * 1024 * 1024),
    "mappedFileSizeConsumeQueue": str(1000 * 20),
    "maxHashSlotNum": "5000",
    "maxIndexNum": "20000",
    **ANY_DISK,
}
NAME_SERVER_DEFAULTS: Final = {"listenPort": "0"}


class LocalBroker:
    """``async with LocalBroker(tmp_path) as broker:`` and clients connect to ``broker.name_server``.

    ``name_server`` and ``address`` (the broker) are ``host:port``. After :meth:`stop`, :meth:`start` serves
    the same data at the same addresses again, as after a restart.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, str] | None = None) -> None:
        """``folder`` keeps the data; ``settings`` are the broker's, by RocketMQ's names, as text:
        ``{"flushDiskType": "SYNC_FLUSH"}``.

        Raises ConfigError when a setting is unknown or cannot be accepted.
        """
        self.folder = Path(folder)
        self.name_server = ""
        self.address = ""
        texts = BROKER_DEFAULTS | {"listenPort": "0"} | dict(settings or {})
        texts["storePathRootDir"] = str(self.folder / "store")
        self._broker_settings, notices = load(BrokerSettings, _assignments(texts))
        for notice in notices:
            raise ConfigError(notice.text)
        texts = NAME_SERVER_DEFAULTS | {
            "kvConfigPath": str(self.folder / "namesrv" / "kvConfig.json"),
            "configStorePath": str(self.folder / "namesrv" / "namesrv.properties"),
        }
        self._name_server_settings, _ = load(NameServerSettings, _assignments(texts))
        self._name_server: NameServer | None = None
        self._broker: Broker | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start both. Raises OSError, StoreError."""
        name_server = NameServer(self._name_server_settings)
        port = await name_server.start()
        try:
            self.name_server = f"127.0.0.1:{port}"
            self._broker_settings.broker.namesrv_addr = self.name_server
            broker = Broker(self._broker_settings)
            await broker.start()
        except BaseException:
            await name_server.stop()
            raise
        self._name_server, self._broker = name_server, broker
        self.address = broker.address
        # For the next start: who knows these addresses finds both there again.
        self._name_server_settings.nameserver.listen_port = port
        self._broker_settings.broker.listen_port = broker.port

    async def stop(self) -> None:
        """Stop both cleanly; nothing if they do not run."""
        broker, name_server = self._broker, self._name_server
        self._broker = self._name_server = None
        try:
            if broker is not None:
                await broker.stop()
        finally:
            if name_server is not None:
                await name_server.stop()


def _assignments(texts: Mapping[str, str]) -> list[Assignment]:
    return [Assignment(key, value, "settings of LocalBroker") for key, value in texts.items()]
