//! A ring as TOML: `active = "…"` and `[keys.ID]` with `key`, `iv` and `created`.
//!
//! Read by hand and not by serde, whose errors show values and the line around them: here every value may be a key.

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::error::KeyProblem;
use super::id::KeyId;
use super::key::Key;

/// What a file says.
pub(super) struct Parsed {
    pub(super) active: String,
    /// In the order of the file.
    pub(super) keys: Vec<Key>,
}

/// A problem with its line, counted from 1, where one is to blame.
type Located = (Option<usize>, KeyProblem);

pub(super) fn parse(text: &str) -> Result<Parsed, Located> {
    let at = |offset: usize| Some(text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1);
    let document = DeTable::parse(text)
        .map_err(|error| (error.span().and_then(|span| at(span.start)), KeyProblem::Syntax(error.message().to_owned())))?;
    let mut active = None;
    let mut keys = Vec::new();
    for (name, value) in document.get_ref() {
        let located = |problem| (at(name.span().start), problem);
        match name.get_ref().as_ref() {
            "active" => active = Some(string("`active`", value.get_ref()).map_err(located)?.to_owned()),
            "keys" => {
                let table =
                    value.get_ref().as_table().ok_or_else(|| located(wrong_type("`keys`", "a table of keys: [keys.ID]")))?;
                for (id, entry) in table {
                    let start = id.span().start;
                    keys.push((
                        start,
                        key(id.get_ref(), entry).map_err(|(offset, problem)| (at(offset.unwrap_or(start)), problem))?,
                    ));
                }
            }
            other => return Err(located(unknown(other, "`active` and [keys.ID]"))),
        }
    }
    keys.sort_by_key(|(start, _)| *start);
    let active = active.ok_or((None, KeyProblem::NoActive))?;
    Ok(Parsed { active, keys: keys.into_iter().map(|(_, key)| key).collect() })
}

/// One `[keys.ID]`. The problem comes with the byte that it starts at, where that is not the id.
fn key(id: &str, entry: &Spanned<DeValue<'_>>) -> Result<Key, (Option<usize>, KeyProblem)> {
    let id = KeyId::new(id).map_err(|error| (None, error.into()))?;
    let fields = entry.get_ref().as_table();
    let fields = fields.ok_or_else(|| (None, wrong_type(&format!("`keys.{id}`"), "a table with `key = \"…\"`")))?;
    let (mut material, mut iv, mut created) = (None, None, None);
    for (name, value) in fields {
        let located = |problem| (Some(name.span().start), problem);
        let named = format!("`{}` of key `{id}`", name.get_ref());
        match name.get_ref().as_ref() {
            "key" => material = Some(string(&named, value.get_ref()).map_err(located)?),
            "iv" => iv = Some(string(&named, value.get_ref()).map_err(located)?),
            "created" => created = Some(time(&id, value.get_ref()).map_err(located)?),
            other => return Err(located(unknown(other, "`key`, `iv` and `created`"))),
        }
    }
    let material = material.ok_or_else(|| (None, KeyProblem::NoMaterial(id.to_string())))?;
    let mut key = Key::read(id, material.as_bytes(), iv.map(str::as_bytes)).map_err(|problem| (None, problem))?;
    key.created = created.map(|time: Datetime| time.to_string().into());
    Ok(key)
}

fn string<'a>(name: &str, value: &'a DeValue<'_>) -> Result<&'a str, KeyProblem> {
    value.as_str().ok_or_else(|| wrong_type(name, "a string"))
}

fn time(id: &KeyId, value: &DeValue<'_>) -> Result<Datetime, KeyProblem> {
    let time = value.as_datetime().copied().or_else(|| value.as_str()?.parse().ok());
    let whole = time.filter(|time| time.date.is_some() && time.time.is_some() && time.offset.is_some());
    whole.ok_or_else(|| KeyProblem::Created(id.to_string()))
}

fn wrong_type(name: &str, expected: &'static str) -> KeyProblem {
    KeyProblem::Type { name: name.to_owned(), expected }
}

/// Shows the name only where it looks like one: it may as well be a key that was pasted to the wrong place.
fn unknown(name: &str, expected: &'static str) -> KeyProblem {
    let harmless = name.len() <= 16 && KeyId::fits(name);
    let name = if harmless { format!("`{name}`") } else { "of this line".to_owned() };
    KeyProblem::Unknown { name, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn problem(text: &str) -> String {
        let (line, problem) = parse(text).map(|_| ()).unwrap_err();
        format!("{}: {problem}", line.map_or_else(|| "-".to_owned(), |line| line.to_string()))
    }

    #[test]
    fn keys_stand_in_the_order_of_the_file() {
        let text = format!(
            "active = \"b\"\n[keys.z]\nkey = \"{KEY}\"\n[keys.a]\nkey = '''\n{KEY}\n'''\niv = \"AAECAwQFBgcICQoLDA0ODw\"\n\
             created = \"2025-01-31T12:00:00+02:00\"\n[keys.b]\nkey = \"{KEY}\"\ncreated = 2024-02-29T00:00:00Z\n"
        );
        let parsed = parse(&text).ok().unwrap();
        assert_eq!(parsed.active, "b");
        let seen: Vec<_> = parsed.keys.iter().map(|key| (key.id.as_str(), key.iv.is_some(), key.created.as_deref())).collect();
        assert_eq!(
            seen,
            [("z", false, None), ("a", true, Some("2025-01-31T12:00:00+02:00")), ("b", false, Some("2024-02-29T00:00:00Z"))]
        );
    }

    #[test]
    fn each_problem_names_its_line() {
        let with = |line: &str| problem(&format!("active = \"k\"\n[keys.k]\nkey = \"{KEY}\"\n{line}\n"));
        assert_eq!(with("vi = \"x\""), "4: unknown key `vi`; expected `key`, `iv` and `created`");
        assert_eq!(with("iv = 5"), "4: `iv` of key `k` must be a string");
        assert_eq!(with("created = \"2025-01-31\""), "4: `created` of key `k` is no RFC 3339 time like 2025-01-31T12:00:00Z");
        assert_eq!(with("created = 2025-01-31"), "4: `created` of key `k` is no RFC 3339 time like 2025-01-31T12:00:00Z");
        assert_eq!(with("[keys.x]"), "4: key `x` has no `key = \"…\"`");
        assert_eq!(
            with("[keys.\"a.b\"]"),
            "4: a key has a wrong id: a key id has 1 to 32 characters of a-z, A-Z, 0-9, `-` and `_`"
        );
        assert_eq!(with("[keys.x]\nkey = \"\""), "4: key `x` is empty; an empty key never switches sealing off");
        assert_eq!(problem("keys = 5\n"), "1: `keys` must be a table of keys: [keys.ID]");
        assert_eq!(problem("keys.k = 5\n"), "1: `keys.k` must be a table with `key = \"…\"`");
        assert_eq!(problem("\nactiv = \"k\"\n"), "2: unknown key `activ`; expected `active` and [keys.ID]");
        assert_eq!(problem("active = 1\n"), "1: `active` must be a string");
        assert_eq!(problem("# nothing\n"), "-: `active = \"…\"` is missing: it names the key that seals");
        assert!(problem("active = \"k\"\n[keys.k\n").starts_with("2: not valid TOML"));
    }

    #[test]
    fn no_problem_shows_a_key() {
        for text in [
            format!("active = \"k\"\nkeys = \"{KEY}\"\n"),
            format!("active = \"k\"\nkeys.k = \"{KEY}\"\n"),
            format!("active = \"k\"\n[keys.k]\nkey = \"{KEY}\"\ncreated = \"{KEY}\"\n"),
            format!("active = \"k\"\n[keys.k]\nkey = \"{KEY}\"\niv = \"{KEY}\"\n"),
            format!("active = \"k\"\n[keys.k]\nkey = \"{KEY}{KEY}{KEY}{KEY}\"\n"),
            format!("active = \"k\"\n[keys.k]\nkey = \"?{KEY}\"\n"),
            format!("active = \"k\"\n[keys.k]\nkey = {KEY}\n"),
            format!("active = \"k\"\n[keys.k]\nkey = \"{KEY}\n"),
            format!("{KEY}\n"),
            format!("\"{KEY}\" = 1\n"),
            format!("active = \"k\"\n[keys.k]\n\"{KEY}\" = 1\n"),
            format!("active = \"k\"\n[keys.\"{KEY}\"]\n"),
            format!("active = \"k\"\n[keys.k]\nkey = \"{KEY}\"\nkey = \"{KEY}\"\n"),
        ] {
            let shown = problem(&text);
            assert!(!shown.contains("AAEC") && !shown.contains("Hh8"), "{shown}");
        }
    }

    #[test]
    fn broken_text_never_panics() {
        let text = format!(
            "active = \"k\"\n[keys.k]\nkey = \"{KEY}\"\niv = \"AAECAwQFBgcICQoLDA0ODw\"\ncreated = \"2025-01-31T12:00:00Z\"\n"
        );
        for end in 0..text.len() {
            drop(parse(&text[..end]));
            for noise in ["\0", "\"", "[", "]", "=", "'''", "é", "\u{feff}"] {
                drop(parse(&format!("{}{noise}{}", &text[..end], &text[end..])));
            }
        }
    }
}
