//! What the demo sends.

/// A message and what becomes of it.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    /// For the person who watches.
    pub(super) what: &'static str,
    /// Its message id.
    pub(super) id: &'static str,
    /// Its body.
    pub(super) body: &'static str,
    /// The content in it; of a message that is dead-lettered, empty.
    pub(super) content: &'static str,
}

/// Good ones, and one that must not pass.
pub(super) const ALL: [Sample; 4] = [
    Sample {
        what: "the document's example",
        id: "demo-1",
        body: r#"{"id":"user_123","sub_id":"session_456","publisher_information":{"client_ip":"192.168.1.100","timestamp":"2025-09-29T10:30:00Z"},"message":{"server_name":"MainServer","content":"Hello, world!"}}"#,
        content: "Hello, world!",
    },
    Sample {
        what: "only what is required ",
        id: "demo-2",
        body: r#"{"id":"user_7","sub_id":"session_1","message":{"content":"The tide comes in at noon."}}"#,
        content: "The tide comes in at noon.",
    },
    Sample {
        what: "no id: dead-lettered  ",
        id: "demo-3",
        body: r#"{"sub_id":"session_1","message":{"content":"Nobody knows who I am."}}"#,
        content: "",
    },
    Sample {
        what: "letters of the world  ",
        id: "demo-4",
        body: r#"{"id":"user_8","sub_id":"session_2","message":{"server_name":"MainServer","content":"안녕하세요, 'quoted'; -- done"}}"#,
        content: "안녕하세요, 'quoted'; -- done",
    },
];

/// Those that pass.
pub(super) fn delivered() -> impl Iterator<Item = Sample> {
    ALL.into_iter().filter(|sample| !sample.content.is_empty())
}
