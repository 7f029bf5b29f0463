//! The messages: those that the pipelines are held against each other with.

use bytes::Bytes;

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 290;
/// How many there are: every batch size that divides it meets the same messages.
pub(crate) const COUNT: usize = 1024;

/// Every body.
pub(crate) fn bodies() -> Vec<Bytes> {
    (0..COUNT).map(|index| body(index).into()).collect()
}

/// The content of every body, which is what a cipher seals.
pub(crate) fn contents() -> Vec<Bytes> {
    (0..COUNT).map(|index| content(index).into()).collect()
}

/// A valid message of exactly [`BODY_BYTES`], as `tidegate-bench` publishes it.
fn body(index: usize) -> String {
    let (head, tail) = around(index);
    [head, content(index), tail.to_owned()].concat()
}

fn content(index: usize) -> String {
    let (head, tail) = around(index);
    "Hello, world! ".chars().cycle().take(BODY_BYTES.saturating_sub(head.len() + tail.len())).collect()
}

/// What stands before the content, and behind it.
fn around(index: usize) -> (String, &'static str) {
    let head = format!(
        "{{\"id\":\"user_{index:08}\",\"sub_id\":\"session_{index:08}\",\"publisher_information\":{{\"client_ip\":\"192.168.1.100\",\
         \"timestamp\":\"2025-09-29T10:30:00Z\"}},\"message\":{{\"server_name\":\"MainServer\",\"content\":\""
    );
    (head, "\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_json_of_the_same_size_and_holds_its_content() {
        for (body, content) in bodies().iter().zip(contents()) {
            assert_eq!(body.len(), BODY_BYTES);
            let json: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(json["message"]["content"].as_str().unwrap().as_bytes(), content);
        }
    }
}
