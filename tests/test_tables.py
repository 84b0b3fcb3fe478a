"""Tables are read from files, the kinds of their columns are detected, and columns become inputs of a network."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep.tables import Columns, TableError, read

pandas = pytest.importorskip("pandas")

ROWS = 40


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def kind_of(cells: Any, name: str = "c", **wishes: Any) -> tuple[str, str]:
    """Return the detected kind of a column with these cells, and the note that explains the kind.

    `wishes` are arguments of `Columns.fit`.
    """
    column = Columns.fit(pandas.DataFrame({name: cells}), **wishes).columns[0]
    return column.kind, column.note


def inputs(cells: Any, new: Any = None, **wishes: Any) -> tuple[list[str], Any]:
    """Fit a column with these cells. Return the names of its outputs, and the outputs for the cells `new`.

    If `new` is None, the outputs are those for `cells`. `wishes` are arguments of `Columns.fit`.
    """
    columns = Columns.fit(pandas.DataFrame({"c": cells}), **wishes)
    again = Columns.of(json.loads(json.dumps(columns.description())))
    frame = pandas.DataFrame({"c": cells if new is None else new})
    found = columns.transform(frame)
    assert np.array_equal(found, again.transform(frame)), "loaded columns must give the outputs of the saved columns"
    return columns.outputs, found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_read_detects_decimal_commas_delimiter_and_encoding(tmp_path: Path, encoding: str, delimiter: str) -> None:
    """The index of the table contains the line numbers in the file."""
    rows = [["Straße", "preis", "tag"], ["Öderweg", "1,5", "31.12.2020"], ["Allee", "-2,25", "1.2.2021"]]
    path = written(tmp_path / "t.csv", "\n".join(delimiter.join(row) for row in rows), encoding)
    frame = read(path)
    assert list(frame.columns) == ["Straße", "preis", "tag"]
    assert frame["Straße"].tolist() == ["Öderweg", "Allee"]
    assert frame["preis"].tolist() == [1.5, -2.25]
    assert frame["tag"].tolist() == ["31.12.2020", "1.2.2021"]
    assert frame.index.tolist() == [2, 3] and frame.index.name == "line"


def test_numbers_with_decimal_points_are_read_if_another_column_has_texts_with_commas(tmp_path: Path) -> None:
    frame = read(written(tmp_path / "t.csv", 'a;b\n1.25;"x,1"\n2.5;y\n'))
    assert frame["a"].tolist() == [1.25, 2.5]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.bz2", ".csv.xz", ".parquet"])
def test_read_accepts_parquet_and_compressed_csv_files(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": ["x", None, "?"]})
    path = tmp_path / f"t{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    found = read(path)
    assert found["a"].tolist() == [1, 2, 3]
    assert found["b"].isna().tolist() == [False, True, True], 'a cell with "?" must be read as a missing value'


def test_read_refuses_a_compressed_file_that_unpacks_to_over_100_times_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusedstep.tables.reading.BIG", 1 << 20)  # up to this many bytes, any ratio is accepted
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"0,0\n" * 400_000))
    with pytest.raises(TableError, match="unpacks to more than 100 times its size"):
        read(path)


def test_missing_cells_are_found_and_empty_lines_are_left_out(tmp_path: Path) -> None:
    """Line 3 of the file is empty, and line 5 has only empty cells.

    The column b is the target. There, the cell "NA" is a missing value, and the cell "none" is an ordinary value.
    """
    frame = read(written(tmp_path / "t.csv", "a,b\n1,NA\n\n?,none\n , \n3,x\n"), target="b")
    assert frame["a"].isna().tolist() == [False, True, False]
    assert frame.index.tolist() == [2, 4, 6]
    assert frame["b"].tolist()[1:] == ["none", "x"], 'in the target, words such as "none" are values'


def test_a_row_with_too_many_cells_is_refused_with_its_line_number(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t.csv, line 4: must have 2 cells, as the first line has; got 3"):
        read(written(tmp_path / "t.csv", "a,b\n1,2\n\n1,2,3\n"))


@pytest.mark.parametrize(
    ("name", "cells", "note"),
    [
        ("customer_id", [f"C{i % 30}" for i in range(ROWS)], "identifier"),
        ("customerId", [1000 + i % 30 for i in range(ROWS)], "identifier"),
        ("key", [f"{i:08x}-{i * 77:04x}" for i in range(ROWS)], "identifier"),
        ("n", list(range(100, 100 + ROWS)), "identifier: row numbers"),
        ("Unnamed: 0", [3 * i for i in range(ROWS)], "identifier"),
        ("code", [f"x{i * i}" for i in range(ROWS)], "identifier: almost all values differ"),
        ("remark", [f"a long story of {i} and {i + 1}" for i in range(ROWS)], "free text"),
        ("same", [7.5] * ROWS, "has one value only"),
        ("same", ["x"] * ROWS, "has one value only"),
        ("none", [None] * ROWS, "empty"),
        ("none", [np.nan] * ROWS, "empty"),
    ],
)
def test_columns_that_are_empty_or_constant_or_identifiers_or_free_text_are_left_out(
    name: str, cells: Any, note: str
) -> None:
    assert kind_of(cells, name) == ("left out", note)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("id", [i / 7 for i in range(ROWS)]),
        ("paid", [i * i for i in range(ROWS)]),
        ("price_index", [100 + i % 30 for i in range(ROWS)]),
        ("n", [i // 2 for i in range(ROWS)]),
        ("n", [(-1) ** i for i in range(ROWS)]),
    ],
)
def test_numeric_columns_that_only_resemble_identifiers_are_kept(name: str, cells: Any) -> None:
    assert kind_of(cells, name) == ("number", "")


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,234.5", "2", "0.5"], [1234.5, 2, 0.5]),
        (["1.234,5", "2", "0,5"], [1234.5, 2, 0.5]),
        (["12 %", "3%", "-1 %"], [12, 3, -1]),
        (["€ 1,000", "$2.50", "3 £"], [1000, 2.5, 3]),
        (["1e3", " 2 ", "+3"], [1000, 2, 3]),
    ],
)
def test_numbers_with_separators_percent_and_currency_signs_are_read(cells: list[str], numbers: list[float]) -> None:
    names, found = inputs(cells * 10)
    assert names == ["c"] and found[:3, 0].tolist() == numbers


def test_missing_numbers_become_the_median_and_an_indicator_column() -> None:
    cells = [1.0, 2.0, None, 4.0, 9.0]
    names, found = inputs(cells, [None, 7.0, "x"])
    assert names == ["c", "c is missing"]
    assert found.tolist() == [[3, 1], [7, 0], [3, 1]]
    names, found = inputs([1.0, 2.0, 9.0], [5.0, None])
    assert names == ["c"] and found.tolist() == [[5], [2]], "without missing cells in the fit, there is no indicator"


def test_text_cells_in_a_numeric_column_are_treated_as_missing_and_reported() -> None:
    """If half of the cells are texts, the column is not numeric."""
    cells = [str(i * i) for i in range(ROWS)]
    cells[3] = "oops"
    assert kind_of(cells) == ("number", "1 cell is no number ('oops') and is treated as missing")
    many = cells[: ROWS // 2] + [f"t{i % 3}" for i in range(ROWS // 2)]
    assert kind_of(many)[0] != "number"


def test_columns_fit_uses_only_the_training_rows() -> None:
    """The second argument of `Columns.fit` has the indices of the training rows."""
    frame = pandas.DataFrame({"a": [1.0, None, 3.0, 500.0], "b": list("xxyz")})
    columns = Columns.fit(frame, np.array([0, 1, 2]))
    assert columns.columns[0].fill == 2.0 and "z" not in columns.columns[1].values


def test_each_common_category_of_a_column_has_an_output_and_all_other_categories_share_one() -> None:
    """A column is turned into numbers, which are called its outputs.

    If a column has only two categories, one output (0 or 1) is enough. Missing cells have their own output.
    """
    cells = ["a"] * 20 + ["b"] * 15 + ["c"] * 5 + ["rare"] + [None]
    names, found = inputs(cells, ["b", "rare", None, "never seen"])
    assert names == ["c=a", "c=b", "c=c", "c is another", "c is missing"]
    assert found.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    names, found = inputs(["yes", "no", "no"] * 9, ["yes", "no"])
    assert names == ["c=yes"] and found.tolist() == [[1], [0]]
    names, found = inputs([True, False, False] * 9, ["True", False])
    assert names == ["c=True"] and found.tolist() == [[1], [0]]


def test_the_arguments_categorical_and_numeric_override_the_detected_kind() -> None:
    names, found = inputs([1.0, 2.0, None, 3.0] * 5, [2, 3], categorical=["c"])
    assert names == ["c=1", "c=2", "c=3", "c is missing"]
    assert found.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    names, found = inputs(["5", "many", "few", "many"] * 5, numeric=["c"])
    assert names == ["c", "c is missing"] and found[:2].tolist() == [[5, 0], [5, 1]]
    assert kind_of(list(range(ROWS)), numeric=["c"])[0] == "number"


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d %b %Y", "%d.%m.%y", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M"],
)
def test_dates_become_days_months_and_weekdays(form: str) -> None:
    """The days are counted from 1970-01-01. Formats with a time of day also give the hour.

    Columns of pandas timestamps give the same days, months and weekdays as columns of texts.
    """
    times = pandas.date_range("2020-01-30 06:00", periods=ROWS, freq="37h")
    names, found = inputs(list(times.strftime(form)))
    hours = "%H" in form
    assert names == [f"c ({part})" for part in ("days", "month", "weekday", "hour")][: 4 if hours else 3]
    assert found[:, 1].tolist() == times.month.tolist()
    assert found[:, 2].tolist() == times.day_of_week.tolist()
    days = (times if hours else times.normalize()) - pandas.Timestamp("1970-01-01")
    np.testing.assert_allclose(found[:, 0], days / pandas.Timedelta(1, "D"))
    assert np.array_equal(
        found[:, :3], inputs(list(times.strftime(form)), times if hours else times.normalize())[1][:, :3]
    )


def test_missing_dates_become_the_median_date_and_an_indicator_column() -> None:
    cells = ["2020-01-01", "2020-01-03", None, "2020-01-05"]
    names, found = inputs(cells, [None, "2020-01-05"])
    assert names[-1] == "c is missing"
    assert found[0, -1] == 1 and np.isfinite(found[0]).all()
    assert found[1, 0] - found[0, 0] == 2


def test_one_error_names_all_unusable_columns() -> None:
    frame = pandas.DataFrame({"a": [1.0, np.inf], "b": [[1], [2]], "c": [1j, 2], "d": ["x", "y"], "e": [1.0, 2.0]})
    with pytest.raises(TableError) as caught:
        Columns.fit(frame, numeric=["d"])
    reasons = "'a' (inf in row 1)", "'b' (a cell has the type list)", "'c' (complex", "'d' (--numeric needs"
    for part in (*reasons, "--drop a,b,c,d"):
        assert part in str(caught.value)
    assert Columns.fit(frame, drop=["a", "b", "c", "d"]).outputs == ["e"]


def test_transform_accepts_any_order_of_columns_and_reports_missing_and_additional_columns() -> None:
    frame = pandas.DataFrame({"a": [1.0, 2.0, 4.0], "b": ["x", "y", "x"], "k": ["p", "p", "p"]})
    columns = Columns.fit(frame)
    assert np.array_equal(columns.transform(frame), columns.transform(frame[["k", "b", "a"]]))
    # the fit leaves out the column k, which has one value only; so transform must not need k
    assert np.array_equal(columns.transform(frame), columns.transform(frame[["b", "a"]]))
    with pytest.raises(TableError, match="must have the columns a, b; it lacks b; it also has z"):
        columns.transform(frame[["a"]].assign(z=1))


@pytest.mark.parametrize(
    "wrong", [{}, [[]], [{"name": "a", "kind": "magic"}], [{"name": "a", "kind": "number", "fill": "x"}],
            [{"name": "a", "kind": "number", "evil": 1}], [{"name": 3, "kind": "number"}]],
)  # fmt: skip
def test_wrong_descriptions_of_columns_are_refused(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Columns.of(wrong)


def test_forty_thousand_columns_are_converted_in_linear_time(tmp_path: Path) -> None:
    """If the time were quadratic in the number of columns, this test would take very long.

    The table that describes the columns is short, because similar columns share a row.
    """
    width = 40_000
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.integers(0, 1000, (30, width)) / 8, columns=[f"c{i}" for i in range(width)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = read(tmp_path / "t.csv")
    columns = Columns.fit(found)
    assert columns.transform(found).shape == (30, width)
    assert len(columns.table()) < 50
