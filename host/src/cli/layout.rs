//! Text for a person: aligned columns, lines that fit, and nothing that could steer a terminal.

/// Columns that a line may fill.
pub(super) const WIDTH: usize = 100;

/// A table whose columns are as wide as their widest cell; columns of numbers stand to the right, the last one is never filled up.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; without any, it starts with its first row.
    pub(super) fn new(headings: &[&str]) -> Self {
        let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Self { rows: if headings.is_empty() { Vec::new() } else { vec![headings] } }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// The text, each line behind this indent. What does not fit into the last column goes on below it.
    pub(super) fn render(&self, indent: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let (last, filled) = row.split_last().map_or((None, [].as_slice()), |(last, filled)| (Some(last), filled));
            let mut head = " ".repeat(indent);
            for (column, (cell, width)) in filled.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width.saturating_sub(count(cell)));
                let cell = if self.is_number(column) { format!("{gap}{cell}  ") } else { format!("{cell}{gap}  ") };
                head.push_str(&cell);
            }
            let last = last.map_or("", String::as_str);
            if self.is_number(filled.len()) {
                let width = widths.get(filled.len()).copied().unwrap_or_default();
                head.push_str(&" ".repeat(width.saturating_sub(count(last))));
            }
            text.push_str(&hang(&head, last));
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| count(cell)).max().unwrap_or_default()
    }

    fn is_number(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column)).peekable();
        cells.peek().is_some() && cells.all(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// A text behind a head, in lines that fit where its words allow it; all but the first stand below the start of the text.
pub(super) fn hang(head: &str, text: &str) -> String {
    let indent = count(head);
    let room = WIDTH.saturating_sub(indent).max(WIDTH / 4);
    let mut lines = vec![String::new()];
    for line in text.lines() {
        for word in line.split(' ') {
            let Some(last) = lines.last_mut() else { continue };
            if !last.is_empty() && count(last) + 1 + count(word) > room {
                lines.push(word.to_owned());
            } else {
                let gap = if last.is_empty() { "" } else { " " };
                last.push_str(&format!("{gap}{word}"));
            }
        }
        lines.push(String::new());
    }
    lines.retain(|line| !line.is_empty());
    let lines = lines.join(&format!("\n{}", " ".repeat(indent)));
    format!("{}\n", format!("{head}{lines}").trim_end())
}

/// A text from elsewhere without anything that could steer a terminal; line feeds stay.
pub(super) fn clean(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n';
    text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// A time as a person reads it.
pub(super) fn time(millis: f64) -> String {
    match millis {
        _ if millis < 1.0 => format!("{:.0} µs", millis * 1000.0),
        _ if millis < 10.0 => format!("{millis:.1} ms"),
        _ if millis < 1000.0 => format!("{millis:.0} ms"),
        _ if millis < 120_000.0 => format!("{:.1} s", millis / 1000.0),
        _ => format!("{:.0} min", millis / 60_000.0),
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["lane", "delivered", "parked"]);
        table.row(["broadcast".to_owned(), "1200".to_owned(), "0".to_owned()]);
        table.row(["history".to_owned(), "9".to_owned(), "17".to_owned()]);
        insta::assert_snapshot!(table.render(2), @r#"
        lane       delivered  parked
        broadcast       1200       0
        history            9      17
        "#);
    }

    #[test]
    fn a_long_text_goes_on_below_its_start() {
        let text = hang("  reason  ", &"nine word ".repeat(14));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("          n") || line.starts_with("          w")), "{text}");
        assert_eq!(text.matches("word").count(), 14);
    }

    #[test]
    fn a_word_that_fits_nowhere_is_not_cut() {
        let path = "a".repeat(150);
        assert_eq!(hang("  at  ", &path), format!("  at  {path}\n"));
        assert_eq!(hang("  at  ", ""), "  at\n");
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{7}\r\u{9b}c — ok"), "a\\u{1b}[2Jb\\u{7}\\r\\u{9b}c — ok");
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let told: Vec<String> = [0.0, 0.012, 1.25, 41.6, 2345.0, 600_000.0].into_iter().map(time).collect();
        assert_eq!(told, ["0 µs", "12 µs", "1.2 ms", "42 ms", "2.3 s", "10 min"]);
    }
}
