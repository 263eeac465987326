import pytest

from ledgermq.client.subscription import parse_expression
from ledgermq.remoting.json_body import encode_json


def test_all() -> None:
    for expression in ("*", ""):
        data = parse_expression("t", expression, 5)
        assert (data.sub_string, data.tags_set, data.code_set) == ("*", [], [])
        assert data.accepts(None)
        assert data.accepts("anything")


def test_tags() -> None:
    data = parse_expression("t", " BB ||Aa|| Aa || ", 5)
    assert data.tags_set == ["Aa", "BB"]
    assert data.code_set == [2112, 2112]
    assert data.accepts("Aa")
    assert not data.accepts("AaBB")
    assert not data.accepts(None)


def test_no_tag_at_all() -> None:
    with pytest.raises(ValueError, match="names no tag"):
        parse_expression("t", " || ", 5)


def test_the_heartbeats_form_is_javas() -> None:
    assert encode_json(parse_expression("t", "a", 5)) == (
        b'{"topic":"t","subString":"a","tagsSet":["a"],"codeSet":[97],"subVersion":5,'
        b'"classFilterMode":false,"expressionType":"TAG"}'
    )
