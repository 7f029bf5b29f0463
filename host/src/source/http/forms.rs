//! The forms in which many messages come in one request.

use bytes::Bytes;
use serde_json::value::RawValue;

/// Most messages of one request.
pub(super) const MAX_MESSAGES: usize = 10_000;

/// How a request's body is cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The body is one message, whatever it is.
    One,
    /// Each line is a message; empty lines are none.
    Lines,
    /// Each element of a JSON array is a message: its text, as it stands.
    Array,
    /// An array where the first character is `[`, else lines.
    Unsaid,
}

/// Why a body gives no messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FormError {
    /// There are none in it, or it is not what it says it is.
    Invalid(String),
    /// There are too many, or one of them is too long.
    TooLarge(String),
}

impl Form {
    /// The form of `POST /messages`.
    pub(super) fn of_messages(content_type: Option<&str>) -> Self {
        if is_lines(&essence(content_type)) { Self::Lines } else { Self::One }
    }

    /// The form of `POST /messages/batch`.
    pub(super) fn of_batch(content_type: Option<&str>) -> Self {
        match essence(content_type).as_str() {
            lines if is_lines(lines) => Self::Lines,
            json if json == "application/json" || json.ends_with("+json") => Self::Array,
            _ => Self::Unsaid,
        }
    }

    /// Cuts a body. The messages share its bytes.
    pub(super) fn cut(self, body: &Bytes, max_body_bytes: usize) -> Result<Vec<Bytes>, FormError> {
        let messages = match self {
            Self::One => vec![body.clone()],
            Self::Lines => lines(body)?,
            Self::Array => array(body)?,
            Self::Unsaid if body.trim_ascii_start().starts_with(b"[") => array(body)?,
            Self::Unsaid => lines(body)?,
        };
        if messages.is_empty() {
            return Err(FormError::Invalid("the batch is empty".into()));
        }
        match messages.iter().position(|message| message.len() > max_body_bytes) {
            None => Ok(messages),
            Some(at) => Err(FormError::TooLarge(format!("message {at} (counted from 0) is longer than {max_body_bytes} bytes"))),
        }
    }
}

/// The content type without its parameters.
fn essence(content_type: Option<&str>) -> String {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_lines(essence: &str) -> bool {
    matches!(essence, "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines")
}

fn lines(body: &Bytes) -> Result<Vec<Bytes>, FormError> {
    let mut messages = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        if messages.len() == MAX_MESSAGES {
            return Err(too_many());
        }
        messages.push(body.slice_ref(line));
    }
    Ok(messages)
}

fn array(body: &Bytes) -> Result<Vec<Bytes>, FormError> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        // The parser's own words may quote what was posted, hence only the place.
        let place = format!("line {}, column {}", error.line(), error.column());
        FormError::Invalid(format!("the body is no JSON array ({place}); for a message a line say `application/x-ndjson`"))
    })?;
    if elements.len() > MAX_MESSAGES {
        return Err(too_many());
    }
    Ok(elements.into_iter().map(|element| body.slice_ref(element.get().as_bytes())).collect())
}

fn too_many() -> FormError {
    FormError::TooLarge(format!("a batch takes at most {MAX_MESSAGES} messages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(form: Form, body: &'static str) -> Result<Vec<String>, FormError> {
        let messages = form.cut(&Bytes::from_static(body.as_bytes()), 25)?;
        Ok(messages.into_iter().map(|message| String::from_utf8(message.to_vec()).unwrap()).collect())
    }

    #[test]
    fn an_arrays_elements_keep_their_text_to_the_byte() {
        let body = r#" [ {"a" : 1.50,"a":"é"}, "x\u0041" ,null,[] ] "#;
        assert_eq!(cut(Form::Array, body).unwrap(), [r#"{"a" : 1.50,"a":"é"}"#, r#""x\u0041""#, "null", "[]"]);
    }

    #[test]
    fn lines_end_with_a_line_feed_and_empty_ones_are_none() {
        assert_eq!(cut(Form::Lines, "{\"a\":1}\r\n\n  \n not json \n{}").unwrap(), ["{\"a\":1}", " not json ", "{}"]);
    }

    #[test]
    fn a_form_that_is_not_said_is_told_by_the_first_character() {
        assert_eq!(cut(Form::Unsaid, " [1,2]").unwrap(), ["1", "2"]);
        assert_eq!(cut(Form::Unsaid, "{}\n[1]").unwrap(), ["{}", "[1]"]);
    }

    #[test]
    fn the_content_type_says_the_form() {
        assert_eq!(Form::of_messages(Some("application/x-ndjson; charset=utf-8")), Form::Lines);
        assert_eq!(Form::of_messages(Some("application/json")), Form::One);
        assert_eq!(Form::of_messages(None), Form::One);
        assert_eq!(Form::of_batch(Some("Application/JSON")), Form::Array);
        assert_eq!(Form::of_batch(Some("application/jsonl")), Form::Lines);
        assert_eq!(Form::of_batch(Some("application/x-www-form-urlencoded")), Form::Unsaid);
    }

    #[test]
    fn what_holds_no_message_is_refused_without_its_content() {
        for (form, body) in [(Form::Lines, "\n \r\n"), (Form::Array, "[]"), (Form::Unsaid, "")] {
            assert_eq!(cut(form, body), Err(FormError::Invalid("the batch is empty".into())), "{body}");
        }
        for body in ["{\"secret\":1}", "[1,]", "[1] secret", "["] {
            let Err(FormError::Invalid(words)) = cut(Form::Array, body) else { panic!("{body} was taken") };
            assert!(!words.contains("secret"), "{words}");
        }
    }

    #[test]
    fn one_message_that_is_too_long_is_named() {
        let refused = cut(Form::Lines, "short\nthis line is longer than allowed").unwrap_err();
        assert!(matches!(&refused, FormError::TooLarge(words) if words.contains("message 1")), "{refused:?}");
    }

    #[test]
    fn too_many_messages_are_refused() {
        for (form, body) in
            [(Form::Lines, "1\n".repeat(MAX_MESSAGES + 1)), (Form::Array, format!("[1{}]", ",1".repeat(MAX_MESSAGES)))]
        {
            assert!(matches!(form.cut(&Bytes::from(body), 9), Err(FormError::TooLarge(_))));
        }
    }
}
