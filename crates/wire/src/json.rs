//! Where a JSON text ends that comes in pieces and has no length in front.
//!
//! Firecracker and nydus send a bare array or object. To know when it is whole, brackets are
//! counted as bytes arrive; each byte is looked at once, whereas parsing again after every piece
//! would let a peer that sends byte by byte cost a second of work for a message.

/// The deepest nesting; the messages here need three.
const DEPTH_MAX: u32 = 16;

/// How far a text has been looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanner {
    /// Bytes looked at.
    seen: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

/// Nested deeper than any message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooDeep;

impl Scanner {
    /// Looks at what is new of `text`, which begins with a bracket and has only grown since the
    /// last call; returns how long the value is once its last bracket is there.
    pub(crate) fn end_of(&mut self, text: &[u8]) -> Result<Option<usize>, TooDeep> {
        for &byte in text.iter().skip(self.seen) {
            self.seen += 1;
            if self.in_string {
                self.string_byte(byte);
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                // Whether brackets match is the parser's business.
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => continue,
            }
            if self.depth > DEPTH_MAX {
                return Err(TooDeep);
            }
            if self.depth == 0 {
                return Ok(Some(self.seen));
            }
        }
        Ok(None)
    }

    fn string_byte(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_with_its_last_bracket_however_it_is_cut() {
        let text = br#"[{"a":"]}\"\\","b":[1,{}]}] [next"#;
        for piece in 1..text.len() {
            let mut scanner = Scanner::default();
            let mut cuts = (1..).map(|n| (n * piece).min(text.len()));
            let end = cuts.find_map(|cut| scanner.end_of(&text[..cut]).unwrap());
            assert_eq!(end, Some(27), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_closed_has_no_end() {
        for text in [&b"["[..], b"[{}", b"[\"]", b"[\"\\\"]"] {
            assert_eq!(Scanner::default().end_of(text), Ok(None));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(Scanner::default().end_of(&[b'['; 100]), Err(TooDeep));
    }
}
