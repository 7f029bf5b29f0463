//! Aligned columns for rows that come a page at a time.

use super::letter::plain;

/// Columns that grow with what they hold: what was printed stays as it is.
pub(super) struct Table {
    names: Vec<&'static str>,
    /// Which columns hold numbers, and are set to the right.
    right: Vec<bool>,
    widths: Vec<usize>,
    headed: bool,
}

impl Table {
    /// Columns, and which of them hold numbers.
    pub(super) fn new(columns: &[(&'static str, bool)]) -> Self {
        let names: Vec<&'static str> = columns.iter().map(|(name, _)| *name).collect();
        let widths = names.iter().map(|name| name.len()).collect();
        Self { names, right: columns.iter().map(|(_, right)| *right).collect(), widths, headed: false }
    }

    /// The text of a page of rows, under the names of the columns the first time. What is empty becomes `-`.
    pub(super) fn page(&mut self, rows: &[Vec<String>]) -> String {
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.headed, true) {
            let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
            self.line(&mut text, &names);
        }
        rows.iter().for_each(|row| self.line(&mut text, row));
        text
    }

    fn line(&self, text: &mut String, cells: &[String]) {
        let start = text.len();
        for ((cell, width), right) in cells.iter().zip(&self.widths).zip(&self.right) {
            if text.len() > start {
                text.push_str("  ");
            }
            if *right {
                text.push_str(&format!("{cell:>width$}"));
            } else {
                text.push_str(&format!("{cell:<width$}"));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

fn shown(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { plain(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_under_their_names_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&[("n", true), ("code", false), ("id", false)]);
        let text = table.page(&[row(&["1", "too_long", "a"]), row(&["100", "", "b\n"])]);
        insta::assert_snapshot!(text, @r"
          n  code      id
          1  too_long  a
        100  -         b\n
        ");
    }

    #[test]
    fn a_later_page_has_no_names_and_may_be_wider() {
        let mut table = Table::new(&[("a", false), ("b", false)]);
        table.page(&[row(&["1", "2"])]);
        assert_eq!(table.page(&[row(&["long", "2"])]), "long  2\n");
    }
}
