//! The byte map of `docs/image-format.md`, and fields at their places.

use super::super::codec::Method;
use super::super::index::{
    BITMAP_LEN, BLOCK_CHUNKS, ENTRY_LEN, Entry, Place, RECORD_LEN, ROOT_PAGE_LEN, ROOT_RECORDS,
    ROOT_TAIL_LEN, Record, encode_root_page,
};
use super::super::tables::{
    ITEM_LEN, KIND_NOTES, KIND_PARENT, KIND_REGION, KIND_TOOL, NOTES_HEAD_LEN, REGION_LEN, Region,
    Tables,
};
use super::*;
use crate::core::Access;
use faultless_pages::Va;

const DOC: &str = include_str!("../../../../../docs/image-format.md");

/// One row of a table of the document.
type Row = (usize, usize, String);

/// Collects the rows of the table under `heading`.
fn documented(heading: &str) -> Vec<Row> {
    let (_, section) = DOC.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n#").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let offset = cells.get(1)?.parse().ok()?;
            Some((offset, cells.get(2)?.parse().ok()?, (*cells.get(3)?).to_string()))
        })
        .collect()
}

/// Checks that rows follow each other without gap up to `len`.
fn assert_gapless(heading: &str, len: usize) {
    let end = documented(heading).iter().fold(0, |end, (offset, bytes, name)| {
        assert_eq!(*offset, end, "{heading}: {name}");
        offset + bytes
    });
    assert_eq!(end, len, "{heading}");
}

/// Returns the little-endian number a field holds, whose table is under `heading`.
fn field(bytes: &[u8], heading: &str, name: &str) -> u64 {
    let rows = documented(heading);
    let row = rows.iter().find(|(_, _, known)| known == name);
    let &(offset, len, _) = row.unwrap_or_else(|| panic!("no {name} under {heading}"));
    let mut word = [0; 8];
    let len = len.min(8);
    word[..len].copy_from_slice(&bytes[offset..offset + len]);
    u64::from_le_bytes(word)
}

fn footer() -> Footer {
    Footer {
        compatible: 1,
        chunk: ChunkSize::MIN,
        depth: 2,
        memory: Bytes(40960),
        index_at: 100,
        root_at: 200,
        tables_at: 200 + root_len(1),
        tables_len: 50,
        tables_crc: 3,
        counts: Counts { stored: 4, filled: 5, shared: 6 },
        time_unix_ns: 7,
        parent: Some(Digest([8; DIGEST_LEN])),
        id: Digest([9; DIGEST_LEN]),
    }
}

#[test]
fn the_document_and_the_code_give_the_same_byte_map() {
    assert_gapless("## Head", HEAD_LEN);
    assert_gapless("## Entry", ENTRY_LEN);
    assert_gapless("## Record", RECORD_LEN);
    assert_gapless("## Region", REGION_LEN);
    assert_gapless("## Footer", FOOTER_LEN);
    assert_gapless("## Item", ITEM_LEN);
    assert_gapless("## Tail of a root page", ROOT_TAIL_LEN);
    for fact in [
        format!("format version {FORMAT_VERSION}."),
        format!("{BLOCK_CHUNKS} chunks"),
        format!("bitmap of {BITMAP_LEN} bytes"),
        format!("{ROOT_RECORDS} records"),
        format!("{ROOT_PAGE_LEN} bytes"),
        format!("| {KIND_REGION} | region |"),
        format!("| {KIND_PARENT} | parent |"),
        format!("| {KIND_TOOL} | tool version |"),
        format!("| {KIND_NOTES} | notes |"),
        format!("from byte {NOTES_HEAD_LEN} on"),
        "89 46 4c 54 0d 0a 1a 0a".to_owned(),
        "46 4c 54 45 4e 44 0d 0a".to_owned(),
    ] {
        assert!(DOC.contains(&fact), "{fact}");
    }
    assert_eq!(HEAD_MAGIC, [0x89, 0x46, 0x4c, 0x54, 0x0d, 0x0a, 0x1a, 0x0a]);
    assert_eq!(FOOTER_MAGIC, [0x46, 0x4c, 0x54, 0x45, 0x4e, 0x44, 0x0d, 0x0a]);
    for (method, number) in Method::ALL {
        let name = format!("{method:?}").to_lowercase();
        assert!(DOC.contains(&format!("| {number} | {name} |")), "{name}");
    }
}

#[test]
fn the_fields_of_the_footer_lie_where_the_document_says() {
    let bytes = footer().encode();
    let tables_at = 200 + root_len(1);
    for (name, value) in [
        ("format version", 1),
        ("chunk size", 4096),
        ("required features", 0),
        ("other features", 1),
        ("memory", 40960),
        ("index", 100),
        ("root", 200),
        ("tables", tables_at),
        ("tables length", 50),
        ("tables checksum", 3),
        ("layers below", 2),
        ("stored chunks", 4),
        ("filled chunks", 5),
        ("shared chunks", 6),
        ("time", 7),
        ("parent id", 0x0808_0808_0808_0808),
        ("id", 0x0909_0909_0909_0909),
        ("checksum", crc32c::crc32c(&bytes[..252]).into()),
    ] {
        assert_eq!(field(&bytes, "## Footer", name), value, "{name}");
    }
}

#[test]
fn the_fields_of_entries_records_and_regions_lie_where_the_document_says() {
    let place = Place { below: 3, method: Method::Zstd, len: 4, offset: 5, crc: 8 };
    let bytes = Entry::Data(place, Digest([6; DIGEST_LEN])).encode();
    for (name, value) in [
        ("kind", 2),
        ("method", 2),
        ("layer", 3),
        ("stored length", 4),
        ("offset or word", 5),
        ("checksum", 8),
        ("digest", 0x0606_0606_0606_0606),
    ] {
        assert_eq!(field(&bytes, "## Entry", name), value, "{name}");
    }
    let fill = Entry::Fill(7).encode();
    assert_eq!(field(&fill, "## Entry", "kind"), 1);
    assert_eq!(field(&fill, "## Entry", "offset or word"), 7);
    let page = encode_root_page(9, &[Record { offset: 1, len: 2, crc: 3 }]);
    let record = ["offset", "length", "checksum"].map(|name| field(&page, "## Record", name));
    assert_eq!(record, [1, 2, 3]);
    let tail = &page[RECORD_LEN..];
    assert_eq!(field(tail, "## Tail of a root page", "number"), 9);
    let crc = crc32c::crc32c(&page[..page.len() - 4]);
    assert_eq!(field(tail, "## Tail of a root page", "checksum"), u64::from(crc));
    let region = Region {
        address: Va(1),
        len: Bytes(2),
        offset: Bytes(3),
        held: Bytes(4),
        access: Access { read: true, write: false, execute: true },
    };
    let tables = Tables { regions: vec![region], ..Tables::default() }.encode();
    assert_eq!(field(&tables, "## Item", "kind"), 1);
    assert_eq!(field(&tables, "## Item", "length"), REGION_LEN as u64);
    let content = &tables[ITEM_LEN..];
    let names = ["address", "length", "offset", "held", "access"];
    assert_eq!(names.map(|name| field(content, "## Region", name)), [1, 2, 3, 4, 5]);
}

#[test]
fn a_footer_survives_a_round_trip_and_a_newer_one_is_refused() {
    let bytes = footer().encode();
    let len = footer().at() + FOOTER_LEN as u64;
    assert!(Footer::decode(&bytes, len).is_ok_and(|found| found == footer()));
    assert!(matches!(Footer::decode(&bytes, len + 1), Err(Refused::Bad(_))));
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes;
        bytes[at] = to;
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Footer::decode(&bytes, len)
    };
    assert!(matches!(changed(8, 2), Err(Refused::TooNew(what)) if what.contains("version 2")));
    assert!(matches!(changed(16, 2), Err(Refused::TooNew(what)) if what.contains("0x2")));
    assert!(changed(24, 0xff).is_ok(), "other features may be ignored");
}
