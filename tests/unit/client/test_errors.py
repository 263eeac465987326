import pytest

from ledgermq.client.errors import (
    BrokerError,
    BrokerNotFoundError,
    ClientError,
    ClosedError,
    IllegalMessageError,
    IllegalNameError,
    RequestTimeoutError,
    TopicNotFoundError,
    UnreachableError,
)


def test_a_broker_error_says_who_answered_what_to_which_question() -> None:
    error = BrokerError(13, "body is empty", "10.0.0.1:10911", "SEND_MESSAGE_V2(310)")
    assert (
        str(error) == "10.0.0.1:10911 answered SEND_MESSAGE_V2(310) with MESSAGE_ILLEGAL (13): body is empty"
    )
    assert (error.code, error.remark, error.address) == (13, "body is empty", "10.0.0.1:10911")
    bare = BrokerError(12345, None, "a:1", "code 7")
    assert str(bare) == "a:1 answered code 7 with unknown code (12345): no remark"


@pytest.mark.parametrize(
    "kind",
    [
        BrokerNotFoundError,
        ClosedError,
        IllegalMessageError,
        IllegalNameError,
        RequestTimeoutError,
        TopicNotFoundError,
        UnreachableError,
    ],
)
def test_there_is_one_family(kind: type[Exception]) -> None:
    assert issubclass(kind, ClientError)
