//! What the three saboteurs share: misbehaviour on command, so that tests of the host can see each kind of it. README.md lists the commands.

use std::hint::black_box;

use serde::Deserialize;
use tidegate_plugin::json::Scanner;
use tidegate_plugin::{Packed, Reason, log};

/// What a saboteur does when it is configured: the setting `configure`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AtConfigure {
    /// It behaves.
    #[default]
    Behave,
    /// It answers with an error.
    Error,
    /// It executes `unreachable`.
    Trap,
    /// It panics.
    Panic,
    /// It never returns.
    Spin,
    /// It takes memory until there is none.
    Hoard,
}

impl AtConfigure {
    /// Does it.
    ///
    /// # Errors
    /// When that is the command.
    pub fn commit(self) -> Result<(), Reason> {
        match self {
            Self::Behave => Ok(()),
            Self::Error => Err(Reason::new("sabotage", "refuses to be configured, as its settings say").at("/configure")),
            Self::Trap => trap(),
            Self::Panic => fall_over(),
            Self::Spin => spin(),
            Self::Hoard => hoard(),
        }
    }
}

/// The command in a body: the string at `/sabotage`. None where the body is no JSON object or has none.
#[must_use]
pub fn command(body: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(body, 128).ok()?;
    let mut command = None;
    let found = scanner.object(|scanner, key| match (&*key.decoded(), scanner.kind()?) {
        ("sabotage", tidegate_plugin::json::Kind::String) => {
            scanner.string().map(|text| command = Some(text.decoded().into_owned()))
        }
        _ => scanner.skip().map(drop),
    });
    found.ok().and(command)
}

/// Commits what every kind knows; does nothing for another command.
pub fn commit(command: &str, content: &[u8]) {
    match command {
        "trap" => trap(),
        "panic" => fall_over(),
        "panic-with-content" => content_falls_over(content),
        "spin" => spin(),
        "slow" => count(50_000_000),
        "hoard" => hoard(),
        "bloat" => drop(black_box(vec![1u8; 40 << 20])),
        "overflow" => descend(1),
        _ => {}
    }
}

/// Writes far more lines than a host keeps, one of them huge, one with control characters.
pub fn flood() {
    log::warn(&"long ".repeat(100_000));
    log::warn("line one\nline two\u{1b}[31m\u{0}red");
    for line in 0..10_000 {
        log::warn(&format!("flood {line}"));
    }
}

/// A reason that is far too long.
#[must_use]
pub fn long_reason() -> Reason {
    Reason::new("c".repeat(10_000), "m".repeat(1_000_000)).at(format!("/{}", "p".repeat(10_000)))
}

/// A reason that would break lines, terminals and headers.
#[must_use]
pub fn control_reason() -> Reason {
    Reason::new("a code\r\nX-Forged: 1", "line one\nline two\u{1b}[31m\u{0}").at("not a pointer\r\n")
}

/// Breaks the rules of `packed`, as the command says; unchanged for another command.
#[must_use]
pub fn break_packed(command: &str, mut packed: Packed) -> Packed {
    match command {
        "packed-few" => drop(packed.ends.pop()),
        "packed-many" => packed.push(b"one more"),
        "packed-short" => drop(packed.bytes.pop()),
        "packed-past-end" => packed.ends.iter_mut().for_each(|end| *end += 1_000_000),
        "packed-descending" => packed.ends.insert(0, u32::MAX),
        _ => {}
    }
    packed
}

/// Executes `unreachable`.
fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// Panics with a text that the program knows: the panic hook logs it.
#[expect(clippy::panic, reason = "it is what this plugin is for")]
fn fall_over() -> ! {
    panic!("sabotage")
}

/// Panics with what it was given in the text: the panic hook must withhold it.
#[expect(clippy::panic, reason = "it is what this plugin is for")]
fn content_falls_over(content: &[u8]) -> ! {
    panic!("{}", String::from_utf8_lossy(content))
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn count(limit: u64) {
    for step in 0..limit {
        black_box(step);
    }
}

/// Takes memory until the host, or the address space, gives no more.
fn hoard() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1u8; 1 << 20]);
        black_box(&hoard);
    }
}

/// Recurses for ever, with something on the stack each time.
#[expect(unconditional_recursion, reason = "it is what this plugin is for")]
fn descend(depth: u64) {
    let ballast = black_box([depth; 64]);
    descend(depth + 1);
    black_box(ballast);
}

#[cfg(test)]
mod tests {
    use tidegate_plugin::Packed;

    use super::{break_packed, command, commit};

    #[test]
    fn a_command_is_read_from_a_body_and_from_nothing_else() {
        assert_eq!(command(br#"{"id":"1","sabotage":"trap"}"#).as_deref(), Some("trap"));
        for body in
            [&b""[..], b"x", b"[]", b"{}", br#"{"sabotage":5}"#, br#"{"a":{"sabotage":"trap"}}"#, br#"{"sabotage":"trap""#]
        {
            assert_eq!(command(body), None);
        }
    }

    #[test]
    fn an_unknown_command_does_nothing() {
        commit("behave", b"");
        let packed: Packed = ["a", "b"].iter().collect();
        assert_eq!(break_packed("behave", packed.clone()), packed);
    }

    #[test]
    fn each_broken_packed_is_broken() {
        let packed: Packed = ["a", "b"].iter().collect();
        for command in ["packed-few", "packed-many", "packed-short", "packed-past-end", "packed-descending"] {
            assert_ne!(break_packed(command, packed.clone()), packed);
        }
    }
}
