"""What the client raises. Every error says on its own what was asked, of whom, and what came back."""

from __future__ import annotations

from ledgermq.remoting.codes import ResponseCode


def _code_names() -> dict[int, str]:
    return {value: name for name, value in vars(ResponseCode).items() if isinstance(value, int)}


_CODE_NAMES = _code_names()


class ClientError(Exception):
    """The base of every error of this package."""


class BrokerError(ClientError):
    """A broker or name server answered with a code other than the expected ones.

    ``code`` is RocketMQ's response code, ``remark`` the text that came with it, ``address`` who answered.
    """

    def __init__(self, code: int, remark: str | None, address: str, asked: str) -> None:
        name = _CODE_NAMES.get(code, "unknown code")
        super().__init__(f"{address} answered {asked} with {name} ({code}): {remark or 'no remark'}")
        self.code = code
        self.remark = remark or ""
        self.address = address


class RequestTimeoutError(ClientError):
    """Nobody answered in time; whether the request was carried out is not known."""


class UnreachableError(ClientError):
    """No connection could be made, or it broke before the answer came."""


class TopicNotFoundError(ClientError):
    """No name server knows a route to the topic that would serve the request."""


class BrokerNotFoundError(ClientError):
    """The route names no broker, or no master, by this name."""


class IllegalMessageError(ClientError, ValueError):
    """The message cannot be sent as it is: a name, a size or a property is not allowed."""


class IllegalNameError(ClientError, ValueError):
    """A topic or group name is not allowed."""


class ClosedError(ClientError):
    """The producer or consumer was not started, or is closed."""
