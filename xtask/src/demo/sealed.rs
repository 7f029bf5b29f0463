//! Sealed values in the bytes of a database, without a database driver: they say themselves what they are.

use std::fs;
use std::path::Path;

use tidegate_harness::Result;
use tidegate_harness::failure::While;

/// Longest value that is looked for.
const LONGEST: usize = 400;

/// The bytes of `messages.db` and its log.
pub(super) fn database(folder: &Path) -> Result<Vec<u8>> {
    let mut bytes = fs::read(folder.join("messages.db")).doing("reading data/messages.db")?;
    // There is no log where everything has been moved into the database.
    bytes.extend(fs::read(folder.join("messages.db-wal")).unwrap_or_default());
    Ok(bytes)
}

/// Whether a text lies there as it is.
pub(super) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Everything that may be a `tg1.…` value. A row's next column follows without a gap, so where a value ends shows only when it is opened.
pub(super) fn candidates(bytes: &[u8]) -> Vec<String> {
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| window == b"tg1.").map(|(start, _)| start);
    let mut values: Vec<String> = starts.filter_map(|start| bytes.get(start..)).flat_map(prefixes).collect();
    values.sort();
    values.dedup();
    values
}

/// Each beginning of a text that has the three dots of a value and something behind them.
fn prefixes(bytes: &[u8]) -> Vec<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let text: String = bytes.iter().take(LONGEST).take_while(|byte| is_plain(byte)).map(|byte| char::from(*byte)).collect();
    let Some((last_dot, _)) = text.match_indices('.').nth(2) else { return Vec::new() };
    (last_dot + 2..=text.len()).filter_map(|end| text.get(..end).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_between_other_columns() {
        let sealed = format!("tg1.aes-256-gcm.k1.{}", "A".repeat(40));
        let bytes = [b"\x00\xffabc".as_slice(), sealed.as_bytes(), b"2026-01-01", sealed.as_bytes(), b"\x00"].concat();
        assert!(candidates(&bytes).contains(&sealed));
        assert!(holds(&bytes, "2026") && !holds(&bytes, "2027"));
    }

    #[test]
    fn what_has_no_three_dots_is_no_value() {
        assert_eq!(candidates(b"tg1.a.b tg1.a.b. tg1."), [""; 0]);
    }
}
