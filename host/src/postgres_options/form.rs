//! libpq's two ways to write down a connection's parameters: a URL, and words like `host=db`.

use zeroize::Zeroizing;

use super::PostgresAddressError;

/// A parameter's name and its value.
type Pair = (String, Zeroizing<String>);

/// The parameters in the order in which they stand; both forms by libpq's rules.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, PostgresAddressError> {
    let scheme = ["postgres://", "postgresql://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    if let Some(rest) = scheme {
        return url_pairs(rest);
    }
    let key = text.split('=').next().unwrap_or_default();
    if !text.contains('=') || key.contains("://") {
        return Err(PostgresAddressError::NeitherForm);
    }
    Words { rest: text, at: 1 }.pairs()
}

/// `[user[:password]@][host][:port][/dbname][?name=value&…]`, without the scheme.
fn url_pairs(rest: &str) -> Result<Vec<Pair>, PostgresAddressError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // The last `@`, so that a password with one works as people write it.
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = host_and_port(place)?;
    let mut pairs = Vec::new();
    for (name, value) in [("user", user), ("password", password), ("host", host), ("port", port), ("dbname", database)] {
        if !value.is_empty() {
            pairs.push((name.to_owned(), percent_decoded(value)?));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(PostgresAddressError::NeitherForm)?;
        pairs.push((percent_decoded(name)?.to_string(), percent_decoded(value)?));
    }
    Ok(pairs)
}

fn host_and_port(place: &str) -> Result<(&str, &str), PostgresAddressError> {
    let Some(bracketed) = place.strip_prefix('[') else {
        return Ok(place.rsplit_once(':').unwrap_or((place, "")));
    };
    let expected = "an IPv6 address in brackets, like `[::1]`";
    let broken = PostgresAddressError::Value { name: "host", expected };
    let (host, port) = bracketed.split_once(']').ok_or_else(|| broken.clone())?;
    match (port, port.strip_prefix(':')) {
        ("", _) => Ok((host, "")),
        (_, Some(port)) => Ok((host, port)),
        _ => Err(broken),
    }
}

fn percent_decoded(text: &str) -> Result<Zeroizing<String>, PostgresAddressError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_pair(rest.next(), rest.next()).ok_or(PostgresAddressError::Value {
                name: "%",
                expected: "two hexadecimal digits after each `%`; a `%` itself is written %25",
            })?,
            _ => byte,
        });
    }
    let decoded = std::str::from_utf8(&bytes).map_err(|_| PostgresAddressError::NotText)?;
    match decoded.contains('\0') {
        true => Err(PostgresAddressError::NotText),
        false => Ok(Zeroizing::new(decoded.to_owned())),
    }
}

fn hex_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// `name = value` words, values quoted with `'` where they are empty or hold spaces, `\` before `'` and `\`.
struct Words<'a> {
    rest: &'a str,
    at: usize,
}

impl Words<'_> {
    fn pairs(mut self) -> Result<Vec<Pair>, PostgresAddressError> {
        let mut pairs = Vec::new();
        loop {
            self.skip_spaces();
            if self.rest.is_empty() {
                return Ok(pairs);
            }
            let name = self.name()?;
            let value = self.value()?;
            pairs.push((name, value));
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let character = characters.next()?;
        self.rest = characters.as_str();
        self.at += 1;
        Some(character)
    }

    fn skip_spaces(&mut self) {
        while self.rest.starts_with(|character: char| character.is_ascii_whitespace()) {
            self.next();
        }
    }

    /// A name and the `=` behind it. What stands in the place of a name is not shown: it may be the rest of a password with a space.
    fn name(&mut self) -> Result<String, PostgresAddressError> {
        let at = self.at;
        let problem = "expected `name=value`; a value with spaces stands in single quotes";
        let broken = PostgresAddressError::Grammar { at, problem };
        let mut name = String::new();
        while let Some(character) =
            self.rest.chars().next().filter(|character| *character != '=' && !character.is_ascii_whitespace())
        {
            name.push(character);
            self.next();
        }
        self.skip_spaces();
        let plausible = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
        match self.next() {
            Some('=') if plausible && !name.is_empty() => Ok(name),
            _ => Err(broken),
        }
    }

    fn value(&mut self) -> Result<Zeroizing<String>, PostgresAddressError> {
        self.skip_spaces();
        let at = self.at;
        let mut value = Zeroizing::new(String::with_capacity(self.rest.len()));
        if self.rest.starts_with('\'') {
            self.next();
            return self.quoted(at, value);
        }
        while let Some(character) = self.rest.chars().next().filter(|character| !character.is_ascii_whitespace()) {
            self.next();
            match character {
                '\\' => value.extend(self.next()),
                _ => value.push(character),
            }
        }
        Ok(value)
    }

    fn quoted(&mut self, at: usize, mut value: Zeroizing<String>) -> Result<Zeroizing<String>, PostgresAddressError> {
        while let Some(character) = self.next() {
            match character {
                '\'' => return Ok(value),
                '\\' => value.extend(self.next()),
                _ => value.push(character),
            }
        }
        Err(PostgresAddressError::Grammar { at, problem: "the quote that opens here is never closed" })
    }
}
