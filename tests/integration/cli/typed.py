"""Standard input as somebody types it."""

import asyncio
import io


class Typed:
    """Lines that may be long in coming, so no event loop must wait for them."""

    def __init__(self, text: str) -> None:
        self._text = io.StringIO(text)

    def readline(self) -> str:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._text.readline()
        raise AssertionError("the event loop stands still until a line comes")
