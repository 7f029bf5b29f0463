//! Addresses of the three servers, with `${VAR}` in the place of every password.

use super::escaped;
use super::original::Original;

/// The broker's.
pub(super) fn amqp(original: &Original, warnings: &mut Vec<String>) -> String {
    let scheme = if original.boolean("use_ssl").unwrap_or(false) { "amqps" } else { "amqp" };
    let host = host(original.text("rabbit_mq_host").unwrap_or("127.0.0.1"));
    let port = original.number("rabbit_mq_port").unwrap_or(if scheme == "amqps" { 5671 } else { 5672 });
    let user = original.text("rabbit_mq_user_name").unwrap_or("guest");
    let password = match original.text("rabbit_mq_password") {
        // What every broker is born with is no secret.
        Some("guest") | None if user == "guest" => "${RABBIT_MQ_PASSWORD:-guest}",
        _ => {
            let what = "Set RABBIT_MQ_PASSWORD to the value of `rabbit_mq_password`, which is not copied into the file. In an address, \
                        characters other than letters, digits, `-`, `.`, `_` and `~` are written %XX.";
            warnings.push(what.to_owned());
            "${RABBIT_MQ_PASSWORD}"
        }
    };
    format!("{scheme}://{}:{password}@{host}:{port}/%2f", percent_encoded(user))
}

/// Redis's.
pub(super) fn redis(original: &Original, warnings: &mut Vec<String>) -> String {
    let scheme = if original.boolean("use_redis_tls").unwrap_or(false) { "rediss" } else { "redis" };
    let host = host(original.text("redis_host").unwrap_or("127.0.0.1"));
    let port = original.number("redis_port").unwrap_or(6379);
    let database = original.number("redis_db_global_message_index").unwrap_or(0);
    let user = original.text("redis_user_name").map(percent_encoded).unwrap_or_default();
    let mut password = "";
    if original.text("redis_password").is_some() {
        password = ":${REDIS_PASSWORD}";
        warnings.push(
            "Set REDIS_PASSWORD to the value of `redis_password`, written as in an address; it is not copied into the file."
                .to_owned(),
        );
    }
    let credentials = format!("{user}{password}");
    let at = if credentials.is_empty() { "" } else { "@" };
    format!("{scheme}://{credentials}{at}{host}:{port}/{database}")
}

/// The database's, in the form that the original has it.
pub(super) fn postgres(original: &Original, warnings: &mut Vec<String>) -> String {
    let Some(text) = original.text("database_connection_string") else {
        warnings.push("`database_connection_string` is empty: set DATABASE_URL to the address of the database.".to_owned());
        return "${DATABASE_URL}".to_owned();
    };
    if let Some((address, has_password)) = without_password(text) {
        if has_password {
            let what = "Set DATABASE_PASSWORD to the password in `database_connection_string`, which is not copied into the \
                        file. In it `'` is written `\\'`, and `\\` is written `\\\\`.";
            warnings.push(what.to_owned());
        }
        return address;
    }
    let what =
        "`database_connection_string` is in no form that PostgreSQL knows: set DATABASE_URL to the address of the database.";
    warnings.push(what.to_owned());
    "${DATABASE_URL}".to_owned()
}

/// The same address with a variable for its password, and whether it had one.
fn without_password(text: &str) -> Option<(String, bool)> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let well = matches!(scheme, "postgres" | "postgresql") && !rest.contains("password=");
        return well.then(|| uri_without_password(scheme, rest));
    }
    let pairs = libpq(text)?;
    let mut has_password = false;
    let pairs = pairs.iter().map(|(key, value)| match key.as_str() {
        "password" => {
            has_password = true;
            "password='${DATABASE_PASSWORD}'".to_owned()
        }
        _ => format!("{key}={}", libpq_value(value)),
    });
    let address = pairs.collect::<Vec<_>>().join(" ");
    Some((address, has_password))
}

fn uri_without_password(scheme: &str, rest: &str) -> (String, bool) {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@').map(|(credentials, host)| (credentials.split_once(':'), host)) {
        Some((Some((user, _)), host)) => {
            (format!("{scheme}://{}:${{DATABASE_PASSWORD}}@{}{}", escaped(user), escaped(host), escaped(path)), true)
        }
        _ => (format!("{scheme}://{}", escaped(rest)), false),
    }
}

/// The pairs of libpq's `key = 'value'` form: blanks around `=` do not count, `\` escapes the next character. None when it is not of that form.
fn libpq(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return None;
        }
        let (value, after) = libpq_first(after.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    (!pairs.is_empty()).then_some(pairs)
}

/// The value at the start of a text, and what follows it.
fn libpq_first(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((value, text.get(at + 1..)?)),
            character if !quoted && character.is_whitespace() => return Some((value, text.get(at..)?)),
            character => value.push(character),
        }
    }
    (!quoted).then_some((value, ""))
}

fn libpq_value(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '\\'));
    let value = escaped(value);
    if plain { value } else { format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")) }
}

/// The host alone: the original has been configured with `tcp:://127.0.0.1` too.
fn host(text: &str) -> String {
    let host = text.rsplit('/').find(|part| !part.is_empty()).unwrap_or(text);
    let is_ipv6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let host = escaped(host);
    if is_ipv6 { format!("[{host}]") } else { host }
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_libpq_is_read_as_libpq_reads_it() {
        let pairs = libpq(r"host = db password='p \'w\\' user=a\ b  dbname=''").unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("host", "db"), ("password", r"p 'w\"), ("user", "a b"), ("dbname", "")]);
        for broken in ["host", "=x", "host='x", "h\\", "Host=x"] {
            assert_eq!(libpq(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_password_leaves_its_address() {
        let cases = [
            ("host=db password=pw dbname=d", "host=db password='${DATABASE_PASSWORD}' dbname=d", true),
            ("host=db user='a b'", "host=db user='a b'", false),
            ("postgres://u:p:w@db/d?sslmode=require", "postgres://u:${DATABASE_PASSWORD}@db/d?sslmode=require", true),
            ("postgres://db/d", "postgres://db/d", false),
        ];
        for (text, address, has_password) in cases {
            assert_eq!(without_password(text), Some((address.to_owned(), has_password)), "{text}");
        }
        assert_eq!(without_password("mysql://x"), None);
    }

    #[test]
    fn a_host_is_found_in_whatever_stands_around_it() {
        for (text, found) in [("tcp:://127.0.0.1", "127.0.0.1"), ("redis", "redis"), ("::1", "[::1]"), ("tcp://h/", "h")] {
            assert_eq!(host(text), found);
        }
    }
}
