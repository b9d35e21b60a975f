//! Sizes as people type them: `64MiB`, `1G`, `4096`.

use faultless_pages::Bytes;

/// Reads a size; letters mean powers of 1024, with or without `iB` or `B`.
pub(crate) fn parse(text: &str) -> Result<Bytes, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit = unit.trim_end_matches('b').trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("units are KiB, MiB, GiB and TiB".into()),
    };
    let count: u64 = digits
        .trim()
        .parse()
        .map_err(|_| "give a whole number with a unit, like 64MiB".to_owned())?;
    count
        .checked_mul(1 << shift)
        .map(Bytes)
        .ok_or_else(|| "more than an address space holds".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [
            ("4096", Bytes(4096)),
            ("64MiB", Bytes::mib(64)),
            ("64 MiB", Bytes::mib(64)),
            ("2m", Bytes::mib(2)),
            ("1GB", Bytes::gib(1)),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5MiB", "-1", "1XiB", "99999999999TiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
