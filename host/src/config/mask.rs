//! Starring out what a file may hold of secrets, before any line of it is shown.

/// Shortest run of base64 that is taken for a key: 16 bytes have 22 characters.
const MIN_RUN: usize = 20;

/// The same text, byte for byte as long, with passwords in addresses, `password=…` and the keys of key rings replaced by stars.
///
/// It works on the text and not on what was parsed, because a file that does not parse is shown as well.
pub(super) fn mask(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut in_ring = false;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            in_ring = line.contains("key_rings");
        }
        let mut line = line.to_owned();
        mask_addresses(&mut line);
        mask_passwords(&mut line);
        if in_ring || line.contains("key_rings") {
            mask_keys(&mut line);
            mask_runs(&mut line);
        }
        shown.push_str(&line);
    }
    shown
}

/// `scheme://user:PASSWORD@host`.
fn mask_addresses(line: &mut String) {
    let mut from = 0;
    while let Some(scheme) = find(line, from, "://") {
        let start = scheme + 3;
        let rest = line.get(start..).unwrap_or_default();
        let length = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(rest.len());
        let authority = rest.get(..length).unwrap_or_default();
        if let (Some(colon), Some(at)) = (authority.find(':'), authority.rfind('@'))
            && colon < at
        {
            star(line, start + colon + 1, start + at);
        }
        from = start;
    }
}

/// `password=PASSWORD`, as libpq and JDBC write it.
fn mask_passwords(line: &mut String) {
    let mut from = 0;
    while let Some(found) = find(line, from, "password") {
        from = found + "password".len();
        let rest = line.get(from..).unwrap_or_default();
        let value = rest.trim_start();
        let Some(value) = value.strip_prefix('=') else { continue };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let value = quote.map_or(value, |quote| value.trim_start_matches(quote));
        let start = from + rest.len() - value.len();
        let ends = |c: char| quote.map_or(c.is_whitespace() || matches!(c, '"' | '\'' | '&'), |quote| c == quote || c == '\n');
        let length = value.find(ends).unwrap_or(value.len());
        if !value.starts_with("${") {
            star(line, start, start + length);
        }
    }
}

/// `key = "…"`, unless it is an interpolation through and through.
fn mask_keys(line: &mut String) {
    let mut from = 0;
    while let Some(found) = find(line, from, "key") {
        from = found + "key".len();
        let rest = line.get(from..).unwrap_or_default();
        let Some(value) = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start();
        let quote = value.chars().next().unwrap_or(' ');
        if !matches!(quote, '"' | '\'') {
            continue;
        }
        let inner = value.trim_start_matches(quote);
        let length = inner.find(quote).unwrap_or(inner.trim_end().len());
        let content = inner.get(..length).unwrap_or_default();
        let start = from + rest.len() - inner.len();
        // A default inside `${…:-…}` is a literal key as well.
        let literal = if content.starts_with("${") { content.find(":-").map(|dash| dash + 2) } else { Some(0) };
        if let Some(literal) = literal {
            let brace = usize::from(literal > 0 && content.ends_with('}'));
            star(line, start + literal, start + length - brace);
        }
        from = start + length;
    }
}

/// Whatever looks like a key in base64: the line of a string of several lines has no name in front.
fn mask_runs(line: &mut String) {
    let mut start = 0;
    let ends: Vec<usize> = line.char_indices().filter(|(_, c)| !is_base64(*c)).map(|(at, _)| at).chain([line.len()]).collect();
    for end in ends {
        if end >= start + MIN_RUN {
            star(line, start, end);
        }
        start = end + 1;
    }
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

fn find(line: &str, from: usize, what: &str) -> Option<usize> {
    line.get(from..)?.find(what).map(|at| from + at)
}

fn star(line: &mut String, start: usize, end: usize) {
    if line.get(start..end).is_some() {
        line.replace_range(start..end, &"*".repeat(end - start));
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn what_may_be_secret_is_starred_out_and_every_offset_stays() {
        for (text, shown) in [
            (r#"uri = "amqp://guest:güest@h/%2f""#, r#"uri = "amqp://guest:******@h/%2f""#),
            (r#"uri = "${U:-redis://:pw@h}""#, r#"uri = "${U:-redis://:**@h}""#),
            (r#"uri = "host=h password=pw dbname=d""#, r#"uri = "host=h password=** dbname=d""#),
            (r#"uri = "host=h password='p w'""#, r#"uri = "host=h password='***'""#),
            (r#"key = "send_global_message""#, r#"key = "send_global_message""#),
            ("[key_rings.m.keys.k1]\nkey = \"AAEC\"\n", "[key_rings.m.keys.k1]\nkey = \"****\"\n"),
            ("[key_rings.m.keys.k1]\nkey = \"${K}\"\n", "[key_rings.m.keys.k1]\nkey = \"${K}\"\n"),
            ("[key_rings.m.keys.k1]\nkey = \"${K:-AAEC}\"\n", "[key_rings.m.keys.k1]\nkey = \"${K:-****}\"\n"),
            ("[key_rings.m.keys.k1]\nkey = \"AAEC\n", "[key_rings.m.keys.k1]\nkey = \"****\n"),
            (
                "[key_rings.m.keys.k1]\nkey = \"\"\"\nAAECAwQFBgcICQoLDA0ODw==\"\"\"\n[a]\nAAECAwQFBgcICQoLDA0ODw==\n",
                "[key_rings.m.keys.k1]\nkey = \"\"\"\n************************\"\"\"\n[a]\nAAECAwQFBgcICQoLDA0ODw==\n",
            ),
            ("[key_rings.m]\nkeys = { k1 = { key = 'AAEC' } }\n", "[key_rings.m]\nkeys = { k1 = { key = '****' } }\n"),
        ] {
            assert_eq!(mask(text), shown);
            assert_eq!(mask(text).len(), text.len());
        }
    }
}
