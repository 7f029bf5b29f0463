//! What a guest says, made fit for logs, headers and metrics: short, printable, of known form.

use std::borrow::Cow;

use crate::message::{Pointer, Reason};

/// Longest code, in bytes.
const CODE_BYTES: usize = 64;
/// Longest message and longest pointer, in bytes.
const TEXT_BYTES: usize = 512;
/// The code of a reason that came without a usable one.
const NO_CODE: &str = "rejected";

/// A guest's reason. A bad label never changes the verdict, so it is mended and not refused: a message that a validator
/// rejects must not pass because its code has a capital letter.
pub(super) fn clean(code: &str, message: &str, pointer: Option<&str>) -> Reason {
    Reason { code: clean_code(code), message: printable(message, TEXT_BYTES), pointer: pointer.and_then(clean_pointer) }
}

fn clean_code(code: &str) -> Cow<'static, str> {
    let code: String = code.chars().take(CODE_BYTES).map(mend).collect();
    match code.bytes().any(|byte| byte != b'_') {
        true => Cow::Owned(code),
        false => Cow::Borrowed(NO_CODE),
    }
}

fn mend(letter: char) -> char {
    match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '_',
    }
}

fn clean_pointer(pointer: &str) -> Option<String> {
    let usable = pointer.len() <= TEXT_BYTES && pointer.parse::<Pointer>().is_ok();
    usable.then(|| printable(pointer, TEXT_BYTES))
}

/// At most `max` bytes, cut between characters; what a terminal would obey, and not show, is escaped.
pub(super) fn printable(text: &str, max: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(max));
    for letter in text.chars() {
        let start = kept.len();
        match obeyed(letter) {
            true => kept.extend(letter.escape_unicode()),
            false => kept.push(letter),
        }
        if kept.len() > max {
            kept.truncate(start);
            break;
        }
    }
    kept
}

/// Control characters, line separators, and those that turn the direction of text around.
fn obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_reason_stays_as_it_is() {
        let reason = clean("too_long", "the name has 300 letters", Some("/message/name"));
        assert_eq!(reason.code, "too_long");
        assert_eq!(reason.message, "the name has 300 letters");
        assert_eq!(reason.pointer.as_deref(), Some("/message/name"));
    }

    #[test]
    fn a_bad_label_is_mended_and_the_verdict_stands() {
        let reason = clean("Too Long!", "a\nb\u{1b}[31m\u{202e}", Some("no pointer"));
        assert_eq!(reason.code, "too_long_");
        assert_eq!(reason.message, "a\\u{a}b\\u{1b}[31m\\u{202e}");
        assert_eq!(reason.pointer, None);
        assert_eq!(clean("", "", None).code, NO_CODE);
        assert_eq!(clean(&"a".repeat(99), "", None).code.len(), CODE_BYTES);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(printable("ééé", 5), "éé");
        assert_eq!(printable("abc\n", 5), "abc", "an escape is kept whole or not at all");
    }
}
