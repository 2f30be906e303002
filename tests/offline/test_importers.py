"""Shops' own files as datasets, their dirt counted."""

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from recsys.errors import DataError
from recsys.types import EventType
from recsys_offline import dataset
from recsys_offline.importers import ImportReport, online_retail, retailrocket, table

LINES = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom
536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom
536365,85123A,HEART,1,2010-12-01 08:26:00,2.55,17850,United Kingdom
536366,71053,LANTERN,2,2010-12-01 08:28:00,3.39,,France
536366,85123A,"HEART, RED",2,2010-12-01 08:28:00,4.55,,France
C536379,85123A,HEART,-1,2010-12-01 09:41:00,2.55,17850,United Kingdom
536380,71053,damaged,-3,2010-12-01 09:42:00,1.00,17850,United Kingdom
536381,POST,POSTAGE,1,2010-12-01 09:43:00,18,12583,France
536381,D,Discount,1,2010-12-01 09:43:00,18,12583,France
536381,22728,CLOCK,24,2010-12-01 09:43:00,0,12583,France
536381,22728,CLOCK,24,2010-12-01 09:43:00,-5,12583,France
536381,22728,CLOCK,0,2010-12-01 09:43:00,5,12583,France
536381,,CLOCK,1,2010-12-01 09:43:00,5,12583,France
536382,22728,,1,2010-12-02 09:43:00,5,12583,France
"""


def counts(report: ImportReport) -> list[int]:
    return [finding.count for finding in report.findings]


def named(data: dataset.Dataset) -> list[tuple[str, str, float]]:
    """User (or ``-``), item and signed quantity of each event."""
    events, n_users = data.events, len(data.users)
    users = [data.users.id(num) if num < n_users else "-" for num in events.user_num.tolist()]
    signs = np.where(events.event_type == EventType.REFUND, -1, 1) * events.quantity
    return list(zip(users, data.items.ids(events.item_num), signs.tolist(), strict=True))


def write_xlsx(path: Path, rows: list[list[str]]) -> None:
    """A workbook of one sheet of texts."""
    cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
    cells = ("".join(cell.format(escape(text)) if text else "<c/>" for text in row) for row in rows)
    sheet = "".join(f"<row>{row}</row>" for row in cells)
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relations = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    link = f'<Relationships {relations}><Relationship Id="r1" Type="{office}/{{}}" Target="{{}}"/></Relationships>'
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("_rels/.rels", link.format("officeDocument", "xl/workbook.xml"))
        book.writestr("xl/_rels/workbook.xml.rels", link.format("worksheet", "worksheets/sheet1.xml"))
        names = '<sheets><sheet name="Year" sheetId="1" r:id="r1"/></sheets>'
        book.writestr("xl/workbook.xml", f'<workbook {main} xmlns:r="{office}">{names}</workbook>')
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {main}><sheetData>{sheet}</sheetData></worksheet>")


def retail_file(path: Path, kind: str) -> Path:
    """The invoice lines above as a file of some kind."""
    source = path / f"retail.{kind}"
    text = path / "retail.csv"
    text.write_text(LINES)
    if kind == "parquet":
        pq.write_table(pyarrow.csv.read_csv(text), source)
    if kind == "xlsx":
        rows = pyarrow.csv.read_csv(text, convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(LINES.split("\n", 1)[0].split(","), pa.string())))  # fmt: skip
        write_xlsx(
            source, [rows.column_names, *([str(cell or "") for cell in row.values()] for row in rows.to_pylist())]
        )
    return source


@pytest.mark.parametrize("kind", ["csv", "parquet", "xlsx"])
def test_online_retail_counts_its_dirt_and_keeps_the_rest(tmp_path, kind):
    report = online_retail.run(retail_file(tmp_path, kind), tmp_path / "out")
    # Duplicates, incomplete, no product, no price, no quantity; cancelled, without customer.
    assert counts(report) == [1, 1, 2, 2, 1, 2, 2]
    assert (report.rows_read, report.events, report.items) == (14, 7, 3)
    assert report.findings[0].where == f"retail.{kind} row 2"
    data = dataset.read(tmp_path / "out")
    assert named(data) == [
        ("17850", "85123A", 6),
        ("17850", "85123A", 1),
        ("-", "71053", 2),
        ("-", "85123A", 2),
        ("17850", "85123A", -1),
        ("17850", "71053", -3),
        ("12583", "22728", 1),
    ]
    basket = data.events.session_num.tolist()
    assert basket[0] == basket[1] != basket[2] == basket[3]
    assert data.events.time[0] == 1_291_191_960
    assert data.items.array.tolist() == [b"22728", b"71053", b"85123A"]
    assert data.catalogue.titles == ("", "LANTERN", "HEART")
    assert data.catalogue.price.tolist() == pytest.approx([5, 3.39, 2.55])
    first = data.events.time[[6, 2, 0]]  # the lantern's line has no customer
    assert data.catalogue.created_time.tolist() == first.tolist()
    users = pq.read_table(tmp_path / "out" / "users.parquet").to_pylist()
    assert users == [{"user_id": "12583", "country": "France"}, {"user_id": "17850", "country": "United Kingdom"}]


def test_online_retail_reads_the_spellings_of_its_second_edition_and_of_old_copies(tmp_path):
    header = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"
    rows = ["489434,85048,£ LIGHTS,12,12/1/2009 7:45,6.95,13085.0,EIRE", "489435,85048,,1,12/31/2009 7:46,6.95,,EIRE"]
    source = tmp_path / "old.csv"
    source.write_bytes("\n".join((header, *rows)).encode("latin1"))
    report = online_retail.run(source, tmp_path / "out")
    data = dataset.read(tmp_path / "out")
    assert data.users.array.tolist() == [b"13085"]
    assert data.catalogue.titles == ("£ LIGHTS",)
    assert data.facts.end_time == "2009-12-31T07:46:00+00:00"
    assert report.notes == (
        "read as Latin-1: the text is not UTF-8",
        "InvoiceDate read as %m/%d/%Y %H:%M, taken as UTC",
    )


def test_online_retail_twice_gives_the_same_bytes(tmp_path):
    source = retail_file(tmp_path, "csv")
    for out in ("one", "two"):
        online_retail.run(source, tmp_path / out)
    one, two = (dataset.read(tmp_path / out).facts.sha256 for out in ("one", "two"))
    assert one == two
    events = pq.read_table(tmp_path / "one" / "events.parquet")
    assert len(set(events["event_id"].to_pylist())) == len(events)


def test_a_file_that_is_not_online_retail_is_refused_with_the_nearest_column(tmp_path):
    source = tmp_path / "other.csv"
    source.write_text("InvoiceNum,StockCode\n1,2\n")
    with pytest.raises(DataError, match="no column 'InvoiceNo'; nearest columns: InvoiceNum"):
        online_retail.run(source, tmp_path / "out")
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        online_retail.run(tmp_path / "gone.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"InvoiceNo,StockCode\n1,2\n", b"PK\x03\x04 cut short", b""])
def test_a_workbook_that_cannot_be_opened_is_refused_in_one_line(tmp_path, content):
    source = tmp_path / "retail.xlsx"
    source.write_bytes(content)
    with pytest.raises(DataError, match=r"retail\.xlsx: cannot be read") as refusal:
        online_retail.run(source, tmp_path / "out")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["timestamp,item,property,value\n1,10,categoryid,3\n", ""])
def test_properties_of_retailrocket_that_cannot_be_used_are_refused_in_one_line(tmp_path, content):
    folder = kaggle_folder(tmp_path / "kaggle")
    for part in ("1", "2"):
        (folder / f"item_properties_part{part}.csv").write_text(content)
    with pytest.raises(DataError, match=r"item_properties_part1\.csv: cannot be read"):
        retailrocket.run(folder, tmp_path / "out")


def kaggle_folder(path: Path) -> Path:
    path.mkdir()
    (path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332900,2,addtocart,20,\n"
        "1433221332117,1,view,10,\n"
        "1433221332117,1,view,10,\n"
        "1433221333000,1,transaction,10,4000\n"
        "1433221334000,,view,10,\n"
    )
    header = "timestamp,itemid,property,value\n"
    (path / "item_properties_part1.csv").write_text(
        header + "2000,10,categoryid,3\n1000,10,categoryid,9\n1000,10,available,1\n1000,10,790,n720.000\n"
    )
    (path / "item_properties_part2.csv").write_text(
        header + "3000,10,available,0\n1000,20,categoryid,77\n1000,30,available,1\n1000,40,888,1 2\n"
    )
    (path / "category_tree.csv").write_text("categoryid,parentid\n1,\n2,1\n3,2\n5,6\n6,5\n")
    return path


def test_retailrocket_takes_the_latest_category_path_and_availability(tmp_path):
    report = retailrocket.run(kaggle_folder(tmp_path / "kaggle"), tmp_path / "out")
    # Incomplete, duplicate; two categories that are each other's ancestors.
    assert counts(report) == [1, 1, 2]
    data = dataset.read(tmp_path / "out")
    # The cart comes after the view, by milliseconds.
    assert named(data) == [("1", "10", 1), ("2", "20", 1), ("1", "10", 1)]
    assert data.events.event_type.tolist() == [EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.PURCHASE]
    assert data.items.array.tolist() == [b"10", b"20", b"30"]
    assert data.catalogue.categories == ("1 > 2 > 3", "77", "")
    assert data.catalogue.available.tolist() == [False, True, True]


def test_retailrocket_events_alone_and_in_the_reduced_form(tmp_path):
    rows = {"user": [7, 8], "item": [1, 1], "event": ["view", "transaction"], "ts": [1_430_623_510, 1_430_623_535]}
    pq.write_table(pa.table(rows), tmp_path / "events.parquet")
    for source in (tmp_path, tmp_path / "events.parquet"):
        retailrocket.run(source, tmp_path / "out")
        data = dataset.read(tmp_path / "out")
        assert data.events.time.tolist() == rows["ts"]
        assert data.events.event_type.tolist() == [EventType.VIEW_ITEM, EventType.PURCHASE]


def test_a_table_is_imported_by_the_names_and_words_that_the_caller_gives(tmp_path):
    source = tmp_path / "log.csv"
    source.write_text(
        "who,what,when,did,quantity\n"
        "ann,x,1704067200000,buy,2\nann,y,1704067201000,view_item,\n,y,1704067202000,buy,1\nbob,,1704067203000,buy,1\n"
        "bob,x,1704067204000,ping,1\n"
    )
    report = table.run(
        source, tmp_path / "out", user_id="who", item_id="what", event_time="when", event_type="did",
        mapping={"buy": "purchase", "ping": "drop"},
    )  # fmt: skip
    # Mapped to drop, without a user, without an item.
    assert counts(report) == [1, 1, 1]
    assert report.notes == ("times read as unix milliseconds", "columns taken along: quantity")
    data = dataset.read(tmp_path / "out")
    assert named(data) == [("ann", "x", 2), ("ann", "y", 1)]
    assert data.events.event_type.tolist() == [EventType.PURCHASE, EventType.VIEW_ITEM]
    assert data.events.time.tolist() == [1_704_067_200, 1_704_067_201]


def test_a_table_without_times_is_a_static_set_of_one_event_type(tmp_path):
    pq.write_table(pa.table({"user": [0, 0, 5], "item": [1, 2, 1]}), tmp_path / "train.parquet")
    table.run(tmp_path / "train.parquet", tmp_path / "out", user_id="user", item_id="item", as_type="view_item")
    data = dataset.read(tmp_path / "out")
    assert not data.has_times
    assert named(data) == [("0", "1", 1), ("0", "2", 1), ("5", "1", 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"event_type": "did"},
            r"log.csv row 1: did 'buy', 'look' is no event type \(2 rows\); --map buy=TYPE --map look",
        ),
        (
            {"event_type": "did", "mapping": {"buy": "purchase", "look": "see"}},
            "'see' is not an event type; use one of",
        ),
        ({"as_type": "buy"}, "'buy' is not an event type"),
        ({"event_type": "don"}, "no column 'don'; nearest columns: .*did"),
        ({"as_type": "purchase", "event_time": "when"}, r"row 2: when is missing \(1 of 2 rows\)"),
        ({}, "either --event-type COLUMN or --as-type TYPE"),
        ({"as_type": "purchase", "event_type": "did"}, "either --event-type COLUMN or --as-type TYPE"),
    ],
)
def test_a_table_that_cannot_be_imported_is_refused_with_the_option_that_mends_it(tmp_path, options, message):
    (tmp_path / "log.csv").write_text("who,what,when,did\nann,x,2024-01-01,buy\nann,y,,look\n")
    with pytest.raises(DataError, match=message) as refusal:
        table.run(tmp_path / "log.csv", tmp_path / "out", user_id="who", item_id="what", **options)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_the_report_says_what_was_read_dropped_and_written(tmp_path):
    report = online_retail.run(retail_file(tmp_path, "csv"), tmp_path / "out")
    first, *middle, last = report.lines()
    assert first == f"14 rows read from {tmp_path / 'retail.csv'}"
    assert "  1 duplicate lines: dropped, the first one is kept (first: retail.csv row 2)" in middle
    assert last == f"7 events and 3 items written to {tmp_path / 'out'}"
