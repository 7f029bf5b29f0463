//! Which column of a table takes what of a message. Shared by the sinks that write rows.

mod rows;

pub use rows::{Columns, Rows};

use crate::message::Pointer;

/// One column and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the column in the table.
    pub name: String,
    /// What it takes.
    pub value: Value,
}

/// What a column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The body's value at a pointer: the text of a JSON string, the JSON text of anything else; NULL (or the default) where it is
    /// missing or `null`. In pipeline.toml `"/id"` or `{ pointer = "/id", default = "…" }`.
    Pointer {
        /// Where in the body.
        pointer: Pointer,
        /// What stands in for a missing value.
        default: Option<String>,
    },
    /// A metadata key of the message, e.g. `{ metadata = "routing-key" }`; `message-id` is the message's id, wherever it comes from.
    Metadata {
        /// The key, as in the WIT's `manifest.reads`.
        key: String,
    },
    /// The same for every row: `{ constant = "…" }`.
    Constant {
        /// The value.
        text: String,
    },
    /// Whether the host saw the field sealed, `true` or `false`: `{ sealed = "/message/content" }`.
    IsSealed {
        /// The field.
        pointer: Pointer,
    },
    /// Id of the key that sealed the field, NULL where it is in clear: `{ key_id = "/message/content" }`.
    KeyId {
        /// The field.
        pointer: Pointer,
    },
}

impl Value {
    /// Where it comes from in the body; none where it does not.
    #[must_use]
    pub fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Pointer { pointer, .. } => Some(pointer),
            Self::Metadata { .. } | Self::Constant { .. } | Self::IsSealed { .. } | Self::KeyId { .. } => None,
        }
    }

    /// Whether all rows of a batch nearly always have the same: it hangs on settings and keys, and not on messages.
    fn is_common(&self) -> bool {
        matches!(self, Self::Constant { .. } | Self::IsSealed { .. } | Self::KeyId { .. })
    }
}
