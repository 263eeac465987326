from bench.brokers import Side
from bench.report import Run, Summary, markdown_table, text_table

JAVA, COMPILED, INTERPRETED = Side("java"), Side("compiled", "python"), Side("interpreted", "python")


def runs(case: str, name: str, values: dict[Side, list[float]]) -> list[Run]:
    return [
        Run(case, side, number, {name: value})
        for side, of_side in values.items()
        for number, value in enumerate(of_side, 1)
    ]


def test_a_row_has_medians_spreads_and_the_ratio_of_the_medians():
    summary = Summary(
        runs("send1", "cpu_us", {JAVA: [30, 20, 100], COMPILED: [6, 4, 5], INTERPRETED: [30, 30, 30]})
    )
    heading, row = summary.rows()
    assert heading == [
        "",
        "java",
        "compiled",
        "compiled / java",
        "target",
        "interpreted",
        "interpreted / java",
        "target",
    ]
    assert row == [
        "64 senders, 128 B: broker CPU per message (us)",
        "30 (20-100)",
        "5 (4-6)",
        "0.17",
        "at most 0.25: met",
        "30 (30-30)",
        "1.00",
        "at most 0.8: MISSED",
    ]


def test_more_throughput_is_better():
    summary = Summary(
        runs("send1", "messages_per_s", {JAVA: [30_000], COMPILED: [60_000], INTERPRETED: [10_000]})
    )
    _, row = summary.rows()
    assert row[1:5] == ["30,000", "60,000", "2.00", "at least 1.7: met"]
    assert row[-1] == ""  # no throughput is asked of the interpreted build


def test_an_absolute_target_needs_no_java():
    summary = Summary(runs("startup", "first_send_s", {COMPILED: [0.7]}))
    assert summary.rows() == [
        ["", "compiled", "target"],
        ["start to first accepted send (s)", "0.7", "at most 0.5 s: MISSED"],
    ]


def test_tables():
    rows = [["", "java"], ["memory", "2"]]
    assert text_table(rows) == "        java\nmemory  2"
    assert markdown_table(rows) == "|  | java |\n| --- | --- |\n| memory | 2 |"
