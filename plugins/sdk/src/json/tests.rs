use super::{Kind, Problem, Scanner};

fn check(body: &[u8], limit: u32) -> Result<(), Problem> {
    let mut scanner = Scanner::new(body, limit)?;
    scanner.skip()?;
    scanner.end()
}

/// Strict in what serde_json is strict in, when it builds a tree.
fn serde_agrees(body: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(body);
    let ours = check(body, 127);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {ours:?}, {theirs:?}", String::from_utf8_lossy(body));
}

fn text_of(body: &str) -> String {
    Scanner::new(body.as_bytes(), 1).unwrap().string().unwrap().decoded().into_owned()
}

#[test]
fn what_is_json_passes_and_what_is_not_does_not() {
    let fine: [&[u8]; 12] = [
        b"{}",
        b" [ ] ",
        b"null",
        b"-0.5e+10",
        b"0",
        b"\"\"",
        b"[1,2 , 3]\r\n",
        b"{\"a\":{\"b\":[true,false,null]}}",
        b"\"\\u00e9\\n\\/\"",
        b"\"\\ud83d\\ude00\"",
        "\"é😀\"".as_bytes(),
        b"{\"a\":1,\"a\":2}",
    ];
    let bad: [&[u8]; 28] = [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
        b"-",
        b"nul",
        b"tru",
        b"nulll",
        b"{} {}",
        b"[1 2]",
        b"// c\n{}",
        b"/* c */ {}",
        b"\"\n\"",
        b"\"\\x\"",
        b"\"\\ud800\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\udc00\\ud800\"",
        b"\"\\u12g4\"",
        b"\"\xff\"",
        b"{\"a\"}",
    ];
    for body in fine {
        assert_eq!(check(body, 32), Ok(()), "{}", String::from_utf8_lossy(body));
        serde_agrees(body);
    }
    for body in bad {
        assert!(check(body, 32).is_err(), "{}", String::from_utf8_lossy(body));
        serde_agrees(body);
    }
}

#[test]
fn nesting_counts_the_outermost_as_one_wherever_it_stands() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check(nested(32).as_bytes(), 32), Ok(()));
    assert_eq!(check(nested(33).as_bytes(), 32), Err(Problem::TooDeep { limit: 32 }));
    assert_eq!(check(format!("{{\"a\":[{{}}],\"b\":{}}}", nested(32)).as_bytes(), 32), Err(Problem::TooDeep { limit: 32 }));
    assert_eq!(check("[".repeat(1_000_000).as_bytes(), 32), Err(Problem::TooDeep { limit: 32 }));
}

#[test]
fn one_byte_order_mark_is_accepted_and_places_count_it() {
    assert_eq!(check(b"\xef\xbb\xbf{}", 32), Ok(()));
    let not_json = Problem::NotJson { at: 3, cause: "expected a value" };
    assert_eq!(check(b"\xef\xbb\xbf\xef\xbb\xbf{}", 32), Err(not_json));
    assert_eq!(check(b"\xef\xbb\xbfx", 32), Err(not_json));
}

#[test]
fn strings_are_measured_without_decoding() {
    let body = r#""a\u00e9\ud83d\ude00한\n""#;
    let text = Scanner::new(body.as_bytes(), 1).unwrap().string().unwrap();
    assert_eq!(text.decoded(), "aé😀한\n");
    assert_eq!((text.bytes(), text.chars()), ("aé😀한\n".len(), 5));
    assert!(!text.has_nul());
    assert!(Scanner::new(br#""a\u0000b""#, 1).unwrap().string().unwrap().has_nul());
}

#[test]
fn a_special_byte_is_found_wherever_it_stands_in_a_word() {
    for length in 0..24 {
        let plain = "x".repeat(length);
        assert_eq!(text_of(&format!("\"{plain}\"")), plain);
        assert_eq!(text_of(&format!("\"{plain}\\n{plain}\"")), format!("{plain}\n{plain}"));
        let control = format!("\"{plain}\u{1f}{plain}\"");
        assert_eq!(
            check(control.as_bytes(), 1),
            Err(Problem::NotJson { at: length + 1, cause: "a control character stands in a string" })
        );
    }
    assert_eq!(text_of("\"\u{7f}!#[]\u{80}\u{ff}\""), "\u{7f}!#[]\u{80}\u{ff}");
}

/// Calls `check` with filler of every length around two windows of 64 bytes, ASCII and not.
fn for_each_filler(mut check: impl FnMut(&str)) {
    for length in 0..140 {
        check(&"x".repeat(length));
        check(&("é".repeat(length / 2) + &"x".repeat(length % 2)));
    }
}

#[test]
fn strings_end_where_they_end_wherever_the_document_does() {
    for_each_filler(|filler| {
        for (before, behind) in [("", ""), (" ", "\n"), ("                 ", &" ".repeat(70))] {
            let document = format!("{before}\"{filler}\"{behind}");
            assert_eq!(check(document.as_bytes(), 1), Ok(()), "{document:?}");
            assert_eq!(text_of(&document), filler);
            let cut = Problem::NotJson { at: before.len() + 1 + filler.len(), cause: "a string does not end" };
            assert_eq!(check(format!("{before}\"{filler}").as_bytes(), 1), Err(cut), "{document:?}");
        }
    });
}

#[test]
fn a_string_that_follows_another_is_found_in_the_same_window_and_in_the_next() {
    for_each_filler(|filler| {
        let document = format!("[\"{filler}\",\"\",\"é\\n{filler}\",\"{filler}\\\\\"]");
        let mut scanner = Scanner::new(document.as_bytes(), 1).unwrap();
        let mut texts = Vec::new();
        scanner.array(|scanner| scanner.string().map(|text| texts.push(text.decoded().into_owned()))).unwrap();
        scanner.end().unwrap();
        assert_eq!(texts, [filler, "", &format!("é\n{filler}"), &format!("{filler}\\")]);
    });
}

#[test]
fn what_is_not_utf8_is_found_wherever_it_stands_and_before_anything_else() {
    for_each_filler(|filler| {
        for mark in ["", "\u{feff}"] {
            let document = [mark.as_bytes(), b"x\"", filler.as_bytes(), b"\xff\"    "].concat();
            let problem = Problem::NotJson { at: mark.len() + 2 + filler.len(), cause: "not UTF-8" };
            assert_eq!(check(&document, 1), Err(problem), "{filler:?}");
        }
    });
}

#[test]
fn u0000_is_no_end_of_a_document() {
    let at = |at, cause| Err(Problem::NotJson { at, cause });
    assert_eq!(check(b"\0", 1), at(0, "expected a value"));
    assert_eq!(check(b"", 1), at(0, "the document ends where a value is expected"));
    assert_eq!(check(b"1\0", 1), at(1, "nothing may follow the document"));
    assert_eq!(check(b"[1\0]", 1), at(2, "expected `,` or `]`"));
    assert_eq!(check(b"{\"a\"\0", 1), at(4, "expected `:`"));
}

#[test]
fn a_text_is_compared_by_what_it_means() {
    let text = |body: &'static str| Scanner::new(body.as_bytes(), 1).unwrap().string().unwrap();
    assert!(text(r#""id""#).is("id") && text(r#""\u0069d""#).is("id") && text(r#""""#).is(""));
    assert!(!text(r#""id""#).is("idx") && !text(r#""\u0069d""#).is(r"\u0069d") && !text(r#""\n""#).is("n"));
    assert_eq!((text(r#""é""#).plain(), text(r#""\u00e9""#).plain()), (Some("é".as_bytes()), None));
    assert_eq!(text(r#""\u00e9""#).raw_bytes(), br"\u00e9");
}

#[test]
fn a_string_is_taken_if_it_is_one_and_nothing_else_is() {
    let mut scanner = Scanner::new(br#"[ "a" , 1, "b]"#, 1).unwrap();
    let mut seen = Vec::new();
    let result = scanner.array(|scanner| {
        match scanner.string_if_any()? {
            Some(text) => seen.push(text.raw().to_owned()),
            None => seen.push(String::from_utf8_lossy(scanner.skip_bytes()?).into_owned()),
        }
        Ok(())
    });
    assert_eq!(seen, ["a", "1"]);
    assert_eq!(result, Err(Problem::NotJson { at: 14, cause: "a string does not end" }));
}

#[test]
fn members_come_in_order_with_duplicates_and_decoded_keys() {
    let mut scanner = Scanner::new(br#"{"\u0069d":1,"b":[{"id":2}],"id":"x"}"#, 32).unwrap();
    let mut seen = Vec::new();
    scanner
        .object(|scanner, key| {
            let kind = scanner.kind()?;
            seen.push((key.decoded().into_owned(), kind, scanner.skip()?.to_owned()));
            Ok(())
        })
        .unwrap();
    scanner.end().unwrap();
    let expected = [("id", Kind::Number, "1"), ("b", Kind::Array, "[{\"id\":2}]"), ("id", Kind::String, "\"x\"")];
    assert_eq!(seen, expected.map(|(key, kind, text)| (key.to_owned(), kind, text.to_owned())));
}

/// A small generator: the same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn value(&mut self, depth: u32, out: &mut String) {
        const SCALARS: [&str; 12] = [
            "null",
            "true",
            "false",
            "0",
            "-1.5",
            "3e2",
            "\"\"",
            "\"a\\u00e9\\\\\"",
            "\"\\ud83d\\ude00\"",
            "\"한 글\"",
            "\"A string that fills more than one window of sixty-four bytes, and so ends in the next.\"",
            "\"Ein Satz, der länger als ein Fenster ist: \\u00fc, ü, \\\"ü\\\", \\\\ und noch einmal \\ud83d\\ude00 und 😀.\"",
        ];
        match self.below(if depth == 0 { 1 } else { 3 }) {
            0 => out.push_str(SCALARS[self.below(SCALARS.len())]),
            1 => self.items(depth, out, '[', ']', ""),
            _ => self.items(depth, out, '{', '}', "\"k\\n\" :"),
        }
    }

    fn items(&mut self, depth: u32, out: &mut String, open: char, close: char, key: &str) {
        out.push(open);
        for index in 0..self.below(4) {
            out.push_str(if index == 0 { "" } else { " , " });
            out.push_str(key);
            self.value(depth - 1, out);
        }
        out.push(close);
    }
}

#[test]
fn it_agrees_with_serde_json_on_documents_that_were_damaged_at_random() {
    const BYTES: &[u8] = b"\"\\{}[]:,0123456789eE+-.truefalsn \t\n\x00\x1f\x7f\xc3\xa9\xed\xa0\x80/du";
    let mut random = Random(7);
    for _ in 0..30_000 {
        let mut document = String::new();
        random.value(5, &mut document);
        let mut bytes = document.into_bytes();
        serde_agrees(&bytes);
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            let byte = BYTES[random.below(BYTES.len())];
            match random.below(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at + 1),
            }
        }
        // serde_json refuses numbers that no f64 holds; JSON does not.
        if !bytes.windows(3).any(|window| window.iter().all(u8::is_ascii_digit)) {
            serde_agrees(&bytes);
        }
    }
}
