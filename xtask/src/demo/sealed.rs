//! Sealed values in the bytes of a database, without a database driver: they say themselves what they are.

use std::fs;
use std::path::Path;

use tidegate_harness::Result;
use tidegate_harness::failure::While;

/// Bytes that AES-256-GCM adds: nonce and tag.
const NONCE_AND_TAG: usize = 12 + 16;

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

/// Every `tg1.…` value that is as long as this much content makes it: the next column follows without a gap, so the length has to be known.
pub(super) fn candidates(bytes: &[u8], content_bytes: usize) -> Vec<String> {
    let payload = ((content_bytes + NONCE_AND_TAG) * 4).div_ceil(3);
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| window == b"tg1.").map(|(start, _)| start);
    let mut values: Vec<String> = starts.filter_map(|start| value(bytes.get(start..)?, payload)).collect();
    values.sort();
    values.dedup();
    values
}

/// `tg1.<cipher>.<key id>.` and as many characters.
fn value(bytes: &[u8], payload: usize) -> Option<String> {
    let head = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'.').nth(2)?.0 + 1;
    let text = std::str::from_utf8(bytes.get(..head + payload)?).ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().all(is_plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_between_other_columns() {
        let sealed = format!("tg1.aes-256-gcm.k1.{}", "A".repeat(40));
        let bytes = [b"\x00\xffabc".as_slice(), sealed.as_bytes(), b"2026-01-01", sealed.as_bytes(), b"\x00"].concat();
        assert_eq!(candidates(&bytes, 2), [sealed]);
        assert_eq!(candidates(&bytes, 2000), [""; 0]);
        assert!(holds(&bytes, "2026") && !holds(&bytes, "2027"));
    }
}
