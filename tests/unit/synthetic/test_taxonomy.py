from __future__ import annotations

from pipeline_lib.ingest.source_tables import category_table
from pipeline_lib.ingest.synthetic import frames, taxonomy


def test_109_codes_lie_in_30_groups_in_10_groups_each_once() -> None:
    rows = taxonomy.rows()
    assert len(rows) == len({code for code, _, _ in rows}) == 109
    assert len({l2 for _, l2, _ in rows}) == sum(len(groups) for groups in taxonomy.TAXONOMY.values()) == 30
    assert len(taxonomy.TAXONOMY) == 10


def test_every_code_has_four_digits_and_no_group_is_empty() -> None:
    assert all(len(code) == 4 and code.isdigit() for code in taxonomy.codes())
    assert all(codes.split() for groups in taxonomy.TAXONOMY.values() for codes in groups.values())


def test_the_index_of_a_code_is_its_rank_and_the_next_index_is_unknown() -> None:
    table = category_table(frames.categories())
    assert table.get_column("code").to_list() == [*taxonomy.codes(), "unknown"]
    assert table.get_column("mcc_idx").to_list() == list(range(110))
