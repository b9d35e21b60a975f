//! Grids of figures: a caption, a header, rows; numbers flush right, unlike the tables of text that
//! `crate::table` wraps.
//!
//! [`Grid`] is filled by the benches and printed by `report`.

use std::fmt;

/// A grid; the first column names the row and is flush left, all others are flush right.
#[derive(Debug)]
pub(crate) struct Grid {
    caption: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// Starts a grid with these column names.
    pub(crate) fn new(header: &[&str]) -> Grid {
        Grid {
            caption: String::new(),
            header: header.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Sets the line above the grid: what is measured, and in which unit.
    #[must_use]
    pub(crate) fn caption(mut self, caption: impl Into<String>) -> Grid {
        self.caption = caption.into();
        self
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If the row has not one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.header.len(), "one cell for each column");
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.header.len()];
        for line in std::iter::once(&self.header).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.caption.is_empty() {
            writeln!(f, "{}", self.caption)?;
        }
        let widths = self.widths();
        for line in std::iter::once(&self.header).chain(&self.rows) {
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new(&["op", "ns"]).caption("cost");
        grid.row(vec!["COPY".to_owned(), "1".to_owned()]);
        grid.row(vec!["MOVE".to_owned(), "1234".to_owned()]);
        assert_eq!(grid.to_string(), "cost\nop      ns\nCOPY     1\nMOVE  1234\n");
    }

    #[test]
    #[should_panic(expected = "one cell for each column")]
    fn a_row_must_fit_its_grid() {
        Grid::new(&["op", "ns"]).row(vec!["COPY".to_owned()]);
    }
}
