"""Reading what people send: dialects, missing values, types; and saying what breaks the contract."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import Command, made_up, table

from {{ cookiecutter.__package }}.check import check_file
from {{ cookiecutter.__package }}.clean import read
from {{ cookiecutter.__package }}.config import Split
from {{ cookiecutter.__package }}.contract import Contract, Rule, load_contract, save_contract
from {{ cookiecutter.__package }}.errors import DataError, UsageError
from {{ cookiecutter.__package }}.infer import infer
from {{ cookiecutter.__package }}.ingest import content_hash
from {{ cookiecutter.__package }}.split import HOLDOUT, split, stable_hash
from {{ cookiecutter.__package }}.store import Store
from {{ cookiecutter.__package }}.synth import sample, to_raw


def contract_of(path: Path, target: str, **options: Any) -> Contract:
    return infer(path, target, "test", **options).contract


def column(contract: Contract, name: str) -> Any:
    return next(c for c in contract.columns if c.name == name)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_any_dialect_gives_the_same_rows(tmp_path: Path, separator: str, encoding: str) -> None:
    rows = [f'{n}{separator}"Köln"{separator}{n * 0.5}{separator}{"ja" if n % 2 else "nein"}' for n in range(60)]
    path = tmp_path / "table.csv"
    path.write_bytes("\n".join([f"id{separator}town{separator}size{separator}bought", *rows]).encode(encoding))
    contract = contract_of(path, "bought")
    frame, problems, _ = read(path, contract, contract.names)
    assert problems == []
    assert frame.columns == ["id", "town", "size", "bought"]
    assert frame["town"].unique().to_list() == ["Köln"]
    assert frame["size"].sum() == sum(n * 0.5 for n in range(60))


def test_an_accent_far_behind_the_sample_is_found(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    plain = "\n".join(f"{n},plain text to fill the line,{n % 2}" for n in range(20_000))
    path.write_bytes(b"id,text,y\n" + plain.encode() + "\n20000,Zürich,1".encode("latin-1"))
    contract = contract_of(path, "y")
    assert read(path, contract, contract.names)[0]["text"][-1] == "Zürich"


def test_no_header_and_decimal_comma(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text("\n".join(f"{n};{n},5;{'a' if n % 3 else 'b'}" for n in range(50)))
    contract = contract_of(path, "3")
    assert not contract.header
    assert contract.decimal == ","
    frame, problems, _ = read(path, contract, contract.names)
    assert (frame.height, problems) == (50, [])
    assert frame["column_2"].to_list() == [n + 0.5 for n in range(50)]


def test_a_number_in_the_first_line_is_no_header_but_text_is(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("size,kind\n" + "\n".join(f"{n * 7 % 30},{n % 3 % 2}" for n in range(40)))
    assert contract_of(path, "kind").names == ["size", "kind"]
    path.write_text("\n".join(f"{n * 7 % 30},{n % 3 % 2}" for n in range(40)))
    assert contract_of(path, "column_2").names == ["column_1", "column_2"]


def test_sentinels_blanks_and_dots_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    kinds = [" >50K.", ">50K ", "<=50K", "<=50K.", " <=50K"]
    lines = [
        f"{-1 if n % 5 == 0 else n},{'?' if n % 7 == 0 else ' NA ' if n % 7 == 1 else 'x'},{kinds[n % 5]}"
        for n in range(200)
    ]
    path.write_text("\n".join(["size,word,income", *lines]))
    found = infer(path, "income", "test")
    assert found.contract.classes == ["<=50K", ">50K"]
    assert column(found.contract, "size").sentinels == [-1]
    assert any("size" in note and "missing" in note for note in found.notes)
    frame, _, _ = read(path, found.contract, found.contract.names)
    assert frame["size"].null_count() == 40
    assert frame["word"].null_count() == sum(n % 7 in (0, 1) for n in range(200))


def test_roles_are_recognised_and_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 400
    y = rng.random(n) < 0.3
    frame = pl.DataFrame(
        {
            "customer_id": rng.permutation(n),
            "same": ["k"] * n,
            "empty": [None] * n,
            "remark": [f"a long remark, number {i}" for i in range(n)],
            "paid_after": np.where(y, rng.random(n) + 10, rng.random(n)),
            "zip": [f"0{rng.integers(100, 120)}" for _ in range(n)],
            "x": rng.random(n),
            "y": y,
        }
    )
    path = tmp_path / "t.parquet"
    frame.write_parquet(path)
    found = infer(path, "y", "test")
    roles = {c.name: c.role for c in found.contract.columns}
    assert roles == {
        "customer_id": "identifier", "same": "ignored", "empty": "ignored", "remark": "ignored",
        "paid_after": "ignored", "zip": "feature", "x": "feature", "y": "target",
    }  # fmt: skip
    for name in ("customer_id", "same", "empty", "remark", "paid_after"):
        assert any(note.startswith(f"{name}:") for note in found.notes), name
    assert column(found.contract, "zip").type == "string"


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no"], "binary"),
        ([1, 2], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([1, 2, 3, 4], "multiclass"),
        ([x / 7 for x in range(40)], "regression"),
    ],
)
def test_the_task_follows_from_the_target(tmp_path: Path, values: list[Any], task: str) -> None:
    path = tmp_path / "t.csv"
    pl.DataFrame({"x": [n * 7 % 120 for n in range(120)], "y": (values * 120)[:120]}).write_csv(path)
    assert contract_of(path, "y").task == task


def test_dates_booleans_and_codes_keep_their_meaning(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{n % 28 + 1:02d}.03.2024,{'t' if n % 2 else 'f'},0{n % 9},{n % 2}" for n in range(100)]
    path.write_text("\n".join(["day,flag,code,y", *lines]))
    contract = contract_of(path, "y")
    assert [c.type for c in contract.columns] == ["date", "boolean", "string", "integer"]
    frame, problems, _ = read(path, contract, contract.names)
    assert problems == []
    assert frame["day"][0] == dt.date(2024, 3, 1)
    assert frame["code"][0] == "00"


@pytest.mark.parametrize(
    ("content", "target", "says"),
    [
        (b"", "y", "is empty"),
        (b"x,y\n", "y", "no rows"),
        (b"x,y\n1,1\n2,1\n", "y", "one value only"),
        (b"x,y\n1,1\n2,0\n", "z", "no column z"),
        (b"justonecolumn\n1\n2\n", "y", "one column only"),
        (b"\x00\x01\x02\x03", "y", "NUL"),
        (b"PAR1 but broken", "y", "Parquet"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes, target: str, says: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=says):
        infer(path, target, "test")


def test_ten_thousand_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("\n".join([",".join(f"c{n}" for n in range(10_000)), ",".join("1" for _ in range(10_000))]))
    with pytest.raises(DataError, match="10,000 columns"):
        infer(path, "c1", "test")


def test_a_contract_survives_being_written(project: Path) -> None:
    path = project / "conf" / "contract.yaml"
    contract = load_contract(path)
    before = path.read_bytes()
    save_contract(contract, path)
    assert load_contract(path) == contract
    assert path.read_bytes() == before


def test_the_contract_keeps_the_standard(project: Path) -> None:
    import json
    from importlib.resources import files

    import yaml
    from jsonschema import Draft201909Validator

    schema = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8"))
    document = yaml.safe_load((project / "conf" / "contract.yaml").read_text("utf-8"))
    assert [e.message for e in Draft201909Validator(schema).iter_errors(document)] == []
    document["schema"][0]["properties"][0]["logicalType"] = "whatever"
    assert list(Draft201909Validator(schema).iter_errors(document))


def test_every_kind_of_breach_names_column_rule_count_and_rows(tmp_path: Path) -> None:
    good = made_up(300, 1)
    good.write_csv(tmp_path / "good.csv")
    contract = contract_of(tmp_path / "good.csv", "bought")
    column(contract, "age").maximum = 100
    assert check_file(tmp_path / "good.csv", contract)[1] == []
    text = good.with_columns(pl.all().cast(pl.String))
    first = pl.int_range(pl.len()) < 20
    for name, value, says in (
        ("age", "old", "is not an integer"),
        ("age", "-3", "is below 0"),
        ("age", "300", "is above 100"),
        ("age", "", "is missing"),
        ("amount", "inf", "is not a number"),
        ("colour", "mauve", "is no known category"),
        ("id", "1005", "more than one row"),
    ):
        path = tmp_path / "bad.csv"
        text.with_columns(pl.when(first).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)).write_csv(path)
        found = check_file(path, contract)[1]
        assert [(p.column, says in p.rule, p.count >= 20, p.rows[0][0]) for p in found] == [(name, True, True, 1)], says


def test_a_rule_over_whole_rows_is_checked(tmp_path: Path) -> None:
    made_up(100, 1).write_csv(tmp_path / "t.csv")
    contract = contract_of(tmp_path / "t.csv", "bought")
    contract.rules = [Rule("grown_up", "age >= 18")]
    assert check_file(tmp_path / "t.csv", contract)[1] == []
    contract.rules = [Rule("old", "age >= 60")]
    assert "breaks the rule old" in check_file(tmp_path / "t.csv", contract)[1][0].rule


def test_check_exits_with_1_and_says_where(project: Path, command: Command) -> None:
    path = table(project, 200, 3, project / "rows.csv")
    assert command(project, "contract", "check", path)[0] == 0
    contract = load_contract(project / "conf" / "contract.yaml")
    name = contract.of("feature")[0].name
    path.write_text(path.read_text("utf-8").replace(name, "renamed", 1), "utf-8")
    code, said = command(project, "contract", "check", path)
    assert code == 1
    assert name in said


def test_the_same_rows_in_csv_and_parquet_are_one_version(project: Path, command: Command) -> None:
    table(project, 300, 2, project / "a.csv")
    pl.read_csv(project / "a.csv", infer_schema_length=None).write_parquet(project / "b.parquet")
    assert "version" in command(project, "ingest", project / "a.csv")[1]
    code, said = command(project, "ingest", project / "b.parquet")
    assert code == 0
    assert "known already" in said


def test_a_bad_file_goes_to_the_quarantine_with_its_reason(project: Path, command: Command) -> None:
    inbox = project / "data" / "inbox"
    inbox.mkdir(parents=True)
    table(project, 300, 2, inbox / "good.csv")
    (inbox / "bad.csv").write_text("a,b\n1,2\n")
    code, said = command(project, "ingest")
    assert code == 1
    assert "bad.csv" in said
    kept = list((project / "data" / "quarantine").glob("*-bad/*"))
    assert sorted(p.name for p in kept) == ["bad.csv", "reasons.txt"]
    assert list(inbox.iterdir()) == []
    assert len(list((project / "data" / "versions").glob("[!.]*"))) == 1
    assert len(list((project / "data" / "archive").iterdir())) == 1


def test_a_query_is_a_source(project: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    url = f"sqlite:///{project / 'source.db'}"
    rows = pl.read_csv(table(project, 200, 4, project / "rows.csv"), infer_schema_length=None)
    rows.write_database("claims", url, engine="sqlalchemy")
    assert command(project, "ingest", "--sql", "select * from claims")[0] == 2  # the variable is not set
    monkeypatch.setenv("DATABASE_URL", url)
    assert command(project, "ingest", "--sql", "select * from claims")[0] == 0
    code, said = command(project, "ingest", "--sql", "select * from nothing")
    assert code == 1
    assert "nothing" in said
    sqlalchemy.create_engine(url).dispose()


def test_a_url_is_a_source(project: Path, command: Command) -> None:
    import fsspec

    path = table(project, 200, 4, project / "rows.csv")
    with fsspec.open("memory://inbox/rows.csv", "wb") as remote:
        remote.write(path.read_bytes())
    assert command(project, "ingest", "memory://inbox/rows.csv")[0] == 0
    assert command(project, "ingest", "memory://inbox/absent.csv")[0] == 1


def test_the_content_hash_sees_every_change() -> None:
    frame = pl.DataFrame({"a": [1, 2, None], "b": ["x", None, ""], "c": [0.5, None, 1.0]})
    changed = [
        frame.with_columns(a=pl.Series([1, 2, 0])),
        frame.with_columns(b=pl.Series(["x", "", None])),
        frame.with_columns(b=pl.Series(["", None, "x"])),
        frame.rename({"a": "z"}),
        frame.reverse(),
        frame.select("b", "a", "c"),
    ]
    assert len({content_hash(f) for f in [frame, *changed]}) == len(changed) + 1
    assert content_hash(frame) == content_hash(frame.clone())


def test_hashes_of_rows_never_change() -> None:
    frame = pl.DataFrame({"i": [1, 2**60, None], "f": [1.0, 0.1, None], "s": ["x", "é", None]})
    once = [list(map(int, stable_hash(frame, [name]))) for name in frame.columns]
    assert once == [
        [6791897765849424158, 13184420980831351056, 6009531555643646463],
        [6791897765849424158, 8557123178886996168, 6009531555643646463],
        [11975337014593135950, 9403305650100631698, 12035550249420947055],
    ]
    assert list(stable_hash(frame.reverse(), ["i"])[::-1]) == once[0]


@pytest.mark.parametrize("drop_id", [False, True])
def test_appended_rows_never_move_old_ones(tmp_path: Path, drop_id: bool) -> None:
    old, new = made_up(2000, 1), made_up(3000, 2)
    if drop_id:
        old, new = old.drop("id"), new.drop("id")
    old.write_csv(tmp_path / "t.csv")
    contract = contract_of(tmp_path / "t.csv", "bought")
    parts = []
    for name, frame in (("old", old), ("both", pl.concat([new, old]))):
        frame.write_parquet(tmp_path / name)
        split(tmp_path / name, contract, Split(), tmp_path / f"{name}.parts")
        parts.append(pl.read_parquet(tmp_path / f"{name}.parts")["part"])
    assert parts[0].equals(parts[1][new.height :])
    share = float((parts[1] == HOLDOUT).mean() or 0)
    assert 0.17 < share < 0.23


def test_a_split_by_time_or_group_keeps_its_promise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 300, 1000)]
    frame = made_up(1000, 1).with_columns(day=pl.Series(days), shop=pl.Series(rng.integers(0, 40, 1000)))
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "d")
    contract = contract_of(tmp_path / "t.csv", "bought")
    told = split(tmp_path / "d", contract, Split(by="time: day"), tmp_path / "p")
    late = frame["day"] >= dt.date.fromisoformat(told["holdout_from"])
    assert (pl.read_parquet(tmp_path / "p")["part"] == HOLDOUT).equals(late.rename("part"))
    later = split(tmp_path / "d", contract, Split(by="time: day"), tmp_path / "p", not_before="2024-09-30")
    assert later["holdout_from"] == "2024-09-30"
    split(tmp_path / "d", contract, Split(by="group: shop"), tmp_path / "p")
    by_shop = (
        frame.with_columns(part=pl.read_parquet(tmp_path / "p")["part"]).group_by("shop").agg(pl.col("part").n_unique())
    )
    assert by_shop["part"].max() == 1
    with pytest.raises(UsageError, match="no column"):
        split(tmp_path / "d", contract, Split(by="group: nothing"), tmp_path / "p")


def lines(rows: int = 60, separator: str = ",", end: str = "") -> list[str]:
    """A small table with the header `x,k,y`."""
    body = [separator.join((str(n * 7 % 41), "abc"[n % 3], str(n % 2))) for n in range(rows)]
    return [line + end for line in (separator.join("xky"), *body)]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("\n\n" + "\n".join(lines()), ["x", "k", "y"]),
        ("# made by R\n# on Monday\n" + "\n".join(lines()), ["x", "k", "y"]),
        ("sep=;\r\n" + "\r\n".join(lines(separator=";")), ["x", "k", "y"]),
        ("\n".join([lines()[0], *lines(end=",")[1:]]) + "\n\n", ["x", "k", "y", "column_4"]),
        ("\n".join([lines(end=",")[0], *lines()[1:]]), ["x", "k", "y"]),
        ("\n".join([lines()[0], *(f"{n},{line}" for n, line in enumerate(lines()[1:]))]), ["column_1", "x", "k", "y"]),
        ("\n".join(["x,x,y", *lines()[1:]]), ["x", "x_2", "y"]),
        ("\n".join(["inf,NA,y", *lines()[1:]]), ["inf", "NA", "y"]),
        ('"the\nfirst", a.b ,y\n' + "\n".join(lines()[1:]), ["the first", "a.b", "y"]),
        ("^x.*$,*,y\n" + "\n".join(lines()[1:]), ["x", "column_2", "y"]),
        ("\r".join(lines()), ["x", "k", "y"]),
        ("\n".join("'" + line.replace(",", "','") + "'" for line in lines()), ["x", "k", "y"]),
    ],
)
def test_what_stands_around_a_table_does_not_matter(tmp_path: Path, content: str, names: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    contract = contract_of(path, "y")
    frame, problems, _ = read(path, contract, contract.names)
    assert (contract.names, frame.height, problems) == (names, 60, [])
    assert frame["y"].to_list() == [n % 2 for n in range(60)]


@pytest.mark.parametrize(
    ("cells", "separator", "wanted"),
    [
        (["1.234,50", "12,00", "-7,25"], ";", [1234.5, 12.0, -7.25]),
        (["1.234", "12", "7,5"], ";", [1234.0, 12.0, 7.5]),
        (['"1,234.50"', "12.00", "-7.25"], ",", [1234.5, 12.0, -7.25]),
        (['"1,234"', '"12,345"', "7"], ",", [1234, 12345, 7]),
        (["1'234.5", "12", "7"], ",", [1234.5, 12.0, 7.0]),
        (["1 234,5", "12 %", "7 €"], ";", [1234.5, 12.0, 7.0]),
        (["$1.50", "$12", "-$7"], ",", [1.5, 12.0, -7.0]),
    ],
)
def test_numbers_as_people_write_them(tmp_path: Path, cells: list[str], separator: str, wanted: list[float]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "\n".join([f"a{separator}y", *(f"{cells[n % 3]}{separator}{n // 3 % 2}" for n in range(60))]), "utf-8"
    )
    contract = contract_of(path, "y")
    assert read(path, contract, contract.names)[0]["a"].to_list() == wanted * 20


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("%d.%m.%y", "date"), ("%m/%d/%y", "date"), ("%d %b %Y", "date"), ("%Y-%m-%dT%H:%M:%SZ", "timestamp"),
        ("%Y-%m-%d %H:%M:%S+02:00", "timestamp"), ("%d.%m.%Y %H:%M:%S", "timestamp"), ("%m/%d/%Y %I:%M %p", "timestamp"),
        ("%Y-%m-%d %H:%M:%S.%f", "timestamp"),
    ],
)  # fmt: skip
def test_dates_are_read_as_they_are_written(tmp_path: Path, written: str, kind: str) -> None:
    days = [dt.datetime(2021, 1, 15, 9, 30, tzinfo=dt.UTC) + dt.timedelta(days=n) for n in range(60)]
    path = tmp_path / "t.csv"
    path.write_text(
        "\n".join(["day,x,y", *(f"{d.strftime(written)},{n * 7 % 41},{n % 2}" for n, d in enumerate(days))])
    )
    contract = contract_of(path, "y")
    save_contract(contract, tmp_path / "contract.yaml")
    contract = load_contract(tmp_path / "contract.yaml")
    assert column(contract, "day").type == kind
    frame, problems = check_file(path, contract)[:2]
    assert problems == []
    assert frame["day"].dt.ordinal_day().to_list() == [d.timetuple().tm_yday for d in days]
    assert frame["day"].dt.year().min() == 2021
    to_raw(sample(contract, 50, 1), contract).write_csv(path)
    assert check_file(path, contract)[1] == []


def test_types_that_only_parquet_knows(tmp_path: Path) -> None:
    n, days = 60, [dt.datetime(2023, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=h) for h in range(60)]
    frame = pl.DataFrame(
        {
            "list": [[1]] * n,
            "struct": [{"a": 1}] * n,
            "bytes": [b"\xff"] * n,
            "kind": pl.Series(["a", "?", "b"] * 20, dtype=pl.Categorical),
            "took": [dt.timedelta(minutes=m % 7) for m in range(n)],
            "zoned": pl.Series(days).dt.convert_time_zone("Europe/Berlin"),
            "huge": pl.Series([2**63 + m for m in range(n)], dtype=pl.UInt64),
            "small": pl.Series([m * 7 % 41 for m in range(n)], dtype=pl.UInt8),
            "y": [m % 2 for m in range(n)],
        }
    )
    path = tmp_path / "t.csv"  # the name is wrong, the content counts
    frame.write_parquet(path)
    contract = contract_of(path, "y")
    assert [c.role for c in contract.columns[:3]] == ["ignored"] * 3
    assert "List" in column(contract, "list").note
    clean_frame, problems = check_file(path, contract)[:2]
    assert problems == []
    assert clean_frame["kind"].null_count() == 20
    assert clean_frame["took"][1] == 60
    assert column(contract, "huge").type == "string"
    frame.with_columns(small=pl.lit([[1]])).write_parquet(path)
    assert "small" in [p.column for p in check_file(path, contract)[1]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 and so on", "Excel"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"<!DOCTYPE html><p>Sign in, please</p>", "web page"),
        (b'[{"x": 1, "y": 0}]', "JSON"),
        ("\n".join([*lines(), "1,b,0,9"]).encode(), "a row has 4 cells instead of 3"),
        ("\n".join(["x,k,y,z,w", *lines()[1:]]).encode(), "5 column names, but most rows have 3"),
        (b"x,k,y", "no rows"),
        (b'x,y\n"1,2\n3,4\n', "instead of|no rows|cannot be read"),
    ],
)
def test_what_is_no_table_is_refused_with_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        infer(path, "y", "test")
    with pytest.raises(DataError, match="folder"):
        infer(tmp_path, "y", "test")


def test_odd_targets(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    words = pl.DataFrame({"x": [n * 7 % 41 for n in range(90)], "y": [("Yes", "No")[n % 2] for n in range(90)]})
    words.write_csv(path)
    assert contract_of(path, "2", positive=" no").classes == [True, False]
    for target, options, says in (
        ("y", {"positive": "maybe"}, "'maybe' is not a value"),
        ("y", {"task": "multiclass"}, "three or more"),
        ("x", {"positive": "1"}, "binary task"),
        ("²", {}, "no column"),
    ):
        with pytest.raises((DataError, UsageError), match=says):
            contract_of(path, target, **options)
    counts = [0, 1, 2, 3, 4] * 17 + [5] * 3 + [6] * 2
    words.with_columns(y=pl.Series(counts)).write_csv(path)
    assert contract_of(path, "y").task == "regression"  # five and six are too rare for classes
    words.with_columns(y=pl.Series(["a", "b", "c"] * 29 + ["d", "a", "b"])).write_csv(path)
    assert any("rarest class has 1 row" in note for note in infer(path, "y", "test").notes)
    words.with_columns(y=pl.Series([n * 1e200 for n in range(90)])).write_csv(path)
    with pytest.raises(DataError, match="beyond"):
        contract_of(path, "y")


def test_a_key_that_repeats_is_no_feature_and_one_odd_cell_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = made_up(600, 1).drop("id").with_columns(
        customer_id=pl.Series(rng.integers(0, 200, 600)), down=pl.Series(range(600, 0, -1)),
        price=pl.Series(["n/k", *(str(p) for p in rng.random(599))]),
    )  # fmt: skip
    frame.write_csv(tmp_path / "t.csv")
    found = infer(tmp_path / "t.csv", "bought", "test")
    assert [column(found.contract, name).role for name in ("customer_id", "down")] == ["identifier"] * 2
    assert any("1 of 600" in note and "n/k" in note for note in found.notes)


def test_few_kinds_of_rows_are_parted_evenly_and_survive_an_append(project: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.choice(["u", "v"], 900), "b": rng.choice(["p", "q"], 900)}).with_columns(
        y=pl.Series(rng.choice(["n", "j"], 900))
    )
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "d")
    contract = contract_of(tmp_path / "t.csv", "y")
    told = split(tmp_path / "d", contract, Split(), tmp_path / "p")
    assert 140 < told["holdout"] < 220
    store = Store(project)
    first = store.add(tmp_path / "t.csv", contract)[0]
    assert store.add(tmp_path / "t.csv", contract, append=True) == (first, False)
    pl.concat([frame, frame.head(50)]).write_csv(tmp_path / "more.csv")
    assert store.add(tmp_path / "more.csv", contract, append=True)[0].rows == 950


def test_a_contract_edited_wrongly_says_where(project: Path, command: Command) -> None:
    path = table(project, 100, 3, project / "rows.csv")
    file = project / "conf" / "contract.yaml"
    good = load_contract(file)
    feature = next(c for c in good.of("feature") if c.type in ("integer", "number"))
    for rule, says in (
        ("nothing > 1", "unknown column nothing"),
        (f"{feature.name} +", "cannot be used"),
        (f"{feature.name} + 1", "is no condition"),
    ):
        good.rules = [Rule("mine", rule)]
        save_contract(good, file)
        code, said = command(project, "contract", "check", path)
        assert (code, says in said) == (2, True), said
    good.rules, feature.format = [], "%Y-%M-%d"
    save_contract(good, file)
    code, said = command(project, "contract", "check", path)
    assert (code, f"format of {feature.name}" in said) == (2, True), said
    file.write_text("")
    assert command(project, "contract", "check", path)[0] == 2


@pytest.mark.parametrize("output", ["o.txt", "o", ".", "folder.csv"])
def test_an_output_that_is_no_table_is_a_wrong_command(project: Path, command: Command, output: str) -> None:
    (project / "folder.csv").mkdir()
    code, said = command(project, "data", "sample", "--rows", "5", "--output", output)
    assert (code, "ends in .csv or .parquet" in said) == (2, True)
