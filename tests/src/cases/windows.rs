//! The windows in which the original loses, doubles or reorders messages, each shown closed under the name that it has in the list of them:
//! L (lost), D (doubled), O (out of order), P (a poison message), and the two outages F21 and F22.

mod broadcast;
mod broker;
mod hangs;
mod rows;
mod stops;

use crate::host::Rig;
use crate::trial::{body, numbered};

/// Publishes numbered messages with ids.
async fn publish(rig: &Rig, numbers: std::ops::Range<usize>) {
    rig.queue.publish_with(numbered(numbers)).await;
}

/// Sees that so many numbered rows are stored, once each, in order, and that they open.
async fn stored(rig: &Rig, count: usize) {
    let rows = rig.opened_rows().await;
    let found: Vec<(String, String)> = rows.into_iter().map(|row| (row.id, row.message_content)).collect();
    let expected: Vec<(String, String)> =
        (0..count).map(|number| (format!("user_{number}"), format!("message {number}"))).collect();
    assert!(found == expected, "{} rows for {count} messages, or not in order", found.len());
}

/// The numbered bodies.
fn bodies(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| body(number).into_bytes()).collect()
}

/// Sees that the broadcast is what was sent, once each, in order.
async fn heard(rig: &Rig, count: usize) {
    let again = heard_at_least(rig, count).await;
    assert_eq!(again, 0, "broadcast again");
}

/// Sees that every message was broadcast, the first time in order; says how many were broadcast again.
pub(super) async fn heard_at_least(rig: &Rig, count: usize) -> usize {
    let heard = rig.broadcast().await;
    let mut seen = std::collections::BTreeSet::new();
    let first: Vec<Vec<u8>> = heard.iter().filter(|body| seen.insert((*body).clone())).cloned().collect();
    assert!(first == bodies(count), "{} of {count} messages were broadcast, or not in order", first.len());
    heard.len() - first.len()
}
