//! Plain tables for a terminal of 80 to 100 columns.
//!
//! Columns are as wide as their widest cell; the last one is wrapped at words, so that a row
//! stays inside the line however long its explanation is.

use std::fmt::Write as _;

/// Where text stops: wide enough for a sentence, narrow enough for a split screen.
pub(crate) const WIDTH: usize = 98;

/// The last column never gets narrower than this, whatever stands before it.
const LAST_MIN: usize = 24;

/// Rows of cells, printed with their columns aligned.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// Makes an empty table that starts `indent` columns in.
    pub(crate) fn new(indent: usize) -> Table {
        Table { rows: Vec::new(), indent }
    }

    /// Adds a row.
    pub(crate) fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Renders the rows, one line each or more where the last cell wraps.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            let (last, cells) = row.split_last().map_or(("", &row[..]), |(l, c)| (l, c));
            for (cell, width) in cells.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            let start = line.chars().count();
            let mut pieces = wrap(last, WIDTH.saturating_sub(start).max(LAST_MIN)).into_iter();
            line.push_str(&pieces.next().unwrap_or_default());
            out.push_str(line.trim_end());
            out.push('\n');
            for piece in pieces {
                let _ = writeln!(out, "{:start$}{piece}", "");
            }
        }
        out
    }

    /// Returns the width of every column but each row's last.
    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            let columns = row.len().saturating_sub(1);
            widths.resize(widths.len().max(columns), 0);
            for (width, cell) in widths.iter_mut().zip(&row[..columns]) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

/// Breaks text at spaces into lines of at most `width` characters; longer words stay whole.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("one line at least");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_wraps() {
        let mut table = Table::new(2);
        table.row(["a", "bb", "short"]);
        let words = "word ".repeat(40);
        table.row(["long name", "c", words.as_str()]);
        let text = table.render();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "  a          bb  short");
        assert!(lines[1].starts_with("  long name  c   word"));
        assert!(lines[2].starts_with("                 word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }
}
