//! What the journal promises.

use std::path::Path;
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::source::{Destination, Letter, Mailbox as _};

const QUEUE: &str = "q";

fn entry(body: &str) -> Entry {
    let values = [("content-type".to_owned(), "application/json".to_owned())];
    let properties = Arc::new(Recorded::new(values, SystemTime::now()));
    Entry { id: MessageId::new(body), body: Bytes::copy_from_slice(body.as_bytes()), properties }
}

fn numbered(range: std::ops::Range<u32>) -> Vec<Entry> {
    range.map(|number| entry(&number.to_string())).collect()
}

async fn opened() -> (TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), QUEUE).await.unwrap();
    (folder, journal)
}

async fn append(journal: &Journal, entries: Vec<Entry>) {
    journal.append(journal.queue(), entries, None).await.unwrap();
}

async fn bodies(journal: &Journal, queue: &str) -> Vec<String> {
    let stored = journal.read(queue, 0, usize::MAX, usize::MAX).await.unwrap();
    stored.iter().map(|stored| String::from_utf8(stored.message.body.to_vec()).unwrap()).collect()
}

fn texts(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// What the disk has at this moment, as a machine finds it that lost its power now.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // The shared memory is rebuilt from the log; a crash of the machine loses it.
        if !name.ends_with("-shm") {
            std::fs::copy(entry.path(), copy.path().join(name)).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn what_was_appended_and_not_removed_outlives_a_crash_in_order() {
    let (folder, journal) = opened().await;
    append(&journal, numbered(0..150)).await;
    let first = journal.read(QUEUE, 0, 3, usize::MAX).await.unwrap();
    journal.remove(journal.queue(), 0, first.last().unwrap().sequence).await.unwrap();
    append(&journal, numbered(150..151)).await;
    let crashed = copy_of(folder.path());
    let after = Journal::open(crashed.path(), QUEUE).await.unwrap();
    assert_eq!(bodies(&after, QUEUE).await, texts(3..151));
    assert_eq!(after.waiting(), 148);
}

#[tokio::test]
async fn a_journal_that_was_dropped_opens_again_with_all_that_it_had() {
    let (folder, journal) = opened().await;
    append(&journal, numbered(0..5)).await;
    drop(journal);
    let again = Journal::open(folder.path(), QUEUE).await.unwrap();
    assert_eq!((bodies(&again, QUEUE).await, again.waiting()), (texts(0..5), 5));
}

#[tokio::test]
async fn a_place_is_never_used_twice_even_after_the_queue_was_empty() {
    let (folder, journal) = opened().await;
    append(&journal, numbered(0..2)).await;
    let last = journal.read(QUEUE, 0, 9, usize::MAX).await.unwrap().last().unwrap().sequence;
    journal.remove(journal.queue(), 0, last).await.unwrap();
    drop(journal);
    let again = Journal::open(folder.path(), QUEUE).await.unwrap();
    append(&again, numbered(2..3)).await;
    assert!(again.read(QUEUE, 0, 9, usize::MAX).await.unwrap()[0].sequence > last);
}

#[tokio::test]
async fn body_id_and_properties_come_back_as_they_were() {
    let (_folder, journal) = opened().await;
    let mut odd = entry("m-1");
    odd.body = Bytes::from_static(b"\0\xff\r\n");
    let empty = Entry { id: None, body: Bytes::new(), ..odd.clone() };
    append(&journal, vec![odd, empty]).await;
    let stored = journal.read(QUEUE, 0, 9, usize::MAX).await.unwrap();
    let message = &stored[0].message;
    assert_eq!((&message.body[..], message.id.as_ref().unwrap().as_str()), (&b"\0\xff\r\n"[..], "m-1"));
    assert_eq!(message.properties.get("content-type").as_deref(), Some("application/json"));
    assert_eq!((stored[1].message.body.len(), &stored[1].message.id), (0, &None));
}

#[tokio::test]
async fn appends_of_one_moment_share_a_transaction_and_all_are_answered() {
    let (_folder, journal) = opened().await;
    let before = *journal.arrivals().borrow();
    let appends = (0..100).map(|number| {
        let journal = journal.clone();
        async move { journal.append(journal.queue(), vec![entry(&number.to_string())], None).await }
    });
    let answers = futures_util::future::join_all(appends).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let mut stored = bodies(&journal, QUEUE).await;
    stored.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(stored, texts(0..100));
    let transactions = *journal.arrivals().borrow() - before;
    assert!(transactions <= 10, "100 appends took {transactions} transactions");
}

#[tokio::test]
async fn no_more_wait_than_may_and_side_queues_do_not_count() {
    let (_folder, journal) = opened().await;
    let own = journal.queue().clone();
    journal.append(&journal.side_queue(&SideQueue::Dead), numbered(0..9), Some(3)).await.unwrap();
    journal.append(&own, numbered(0..2), Some(3)).await.unwrap();
    let refused = journal.append(&own, numbered(2..4), Some(3)).await.unwrap_err();
    assert!(matches!(refused, AppendError::Full { waiting: 2 }), "{refused:?}");
    journal.append(&own, numbered(2..3), Some(3)).await.unwrap();
    let first = journal.read(&own, 0, 1, usize::MAX).await.unwrap()[0].sequence;
    journal.remove(&own, 0, first).await.unwrap();
    journal.append(&own, numbered(3..4), Some(3)).await.unwrap();
    assert_eq!((bodies(&journal, &own).await, journal.waiting()), (texts(1..4), 3));
}

#[tokio::test]
async fn reading_stops_at_the_bytes_that_are_allowed_but_always_gets_on() {
    let (_folder, journal) = opened().await;
    append(&journal, vec![entry("aaaa"), entry("bbbb"), entry("cccc")]).await;
    let read = async |bytes| journal.read(QUEUE, 0, 9, bytes).await.unwrap().len();
    assert_eq!((read(1).await, read(5).await, read(100).await), (1, 2, 3));
}

#[tokio::test]
async fn a_second_process_is_told_which_file_is_in_use() {
    let (folder, journal) = opened().await;
    let error = Journal::open(folder.path(), QUEUE).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.needs_operator), ("journal_in_use", true));
    assert!(error.message.contains("q.journal.db"), "{error}");
    let other = Journal::open(folder.path(), "another").await.unwrap();
    drop((journal, other));
    Journal::open(folder.path(), QUEUE).await.unwrap();
}

#[tokio::test]
async fn a_visitor_sees_the_side_queues_of_a_journal_in_use() {
    let (folder, journal) = opened().await;
    append(&journal, numbered(0..1)).await;
    let visitor = Journal::visit(folder.path(), QUEUE).await.unwrap();
    visitor.append(visitor.queue(), numbered(1..2), None).await.unwrap();
    assert_eq!(bodies(&journal, QUEUE).await, texts(0..2));
    append(&journal, numbered(2..3)).await;
    assert_eq!((journal.waiting(), visitor.queues().await.unwrap()[QUEUE]), (3, 3));
    assert!(Journal::visit(folder.path(), "none").await.is_err());
}

#[tokio::test]
async fn side_queues_keep_original_id_properties_and_the_further_headers() {
    let (folder, journal) = opened().await;
    append(&journal, vec![entry("id-1")]).await;
    let mut message = journal.read(QUEUE, 0, 1, usize::MAX).await.unwrap().remove(0).message;
    message.body = Bytes::from_static(b"changed by a step");
    let letter = Letter { message, headers: vec![("tidegate-code", "too_long".into())] };
    journal.mailbox().put(&SideQueue::Dead, &[letter]).await.unwrap();
    drop(journal);
    let journal = Journal::open(folder.path(), QUEUE).await.unwrap();
    let mut dead = journal.mailbox().open(&SideQueue::Dead).await.unwrap();
    let taken = dead.next(9).await.unwrap().remove(0);
    assert_eq!((&taken.body[..], taken.id.unwrap().as_str()), (&b"id-1"[..], "id-1"));
    assert_eq!(taken.properties.get("header:tidegate-code").as_deref(), Some("too_long"));
    assert_eq!(taken.properties.get("content-type").as_deref(), Some("application/json"));
}

#[tokio::test]
async fn a_side_queue_is_emptied_oldest_first_and_only_by_what_was_given() {
    let (_folder, journal) = opened().await;
    let parked = SideQueue::Parked("history".into());
    let name = journal.side_queue(&parked);
    assert_eq!(&*name, "q.parked.history");
    journal.append(&name, numbered(0..5), None).await.unwrap();
    append(&journal, numbered(0..2)).await;
    let mut taking = journal.mailbox().open(&parked).await.unwrap();
    assert_eq!((taking.next(2).await.unwrap().len(), taking.next(1).await.unwrap().len()), (2, 1));
    taking.remove().await.unwrap();
    assert_eq!(bodies(&journal, &name).await, texts(3..5));
    assert_eq!(taking.next(9).await.unwrap().len(), 2);
    drop(taking);
    assert_eq!((bodies(&journal, &name).await, bodies(&journal, QUEUE).await), (texts(3..5), texts(0..2)));
    assert_eq!(journal.count(&name).await.unwrap(), 2);
}

#[tokio::test]
async fn a_file_that_was_removed_under_the_journal_is_an_error_and_no_loss_in_silence() {
    let (_folder, journal) = opened().await;
    append(&journal, numbered(0..1)).await;
    std::fs::remove_file(journal.file()).unwrap();
    let error = journal.append(journal.queue(), numbered(1..2), None).await.unwrap_err();
    assert_eq!(StageError::from(error).code, "sqlite_gone");
}

#[tokio::test]
async fn a_database_of_another_kind_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let file = super::file::path(folder.path(), QUEUE);
    crate::sqlite_file::make_private(&file).unwrap();
    let mut other = super::file::opening(&file).connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE mine (x)").execute(&mut other).await.unwrap();
    let error = Journal::open(folder.path(), QUEUE).await.unwrap_err();
    assert_eq!(error.code, "journal_version");
}

#[tokio::test]
async fn a_failed_append_leaves_nothing_behind_and_the_journal_goes_on_after_it() {
    let (_folder, journal) = opened().await;
    append(&journal, numbered(0..1)).await;
    // Stands for whatever fails a transaction half-way, e.g. a full disk.
    let mut other = super::file::opening(journal.file()).connect().await.unwrap();
    sqlx::raw_sql("CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(FAIL, 'full'); END")
        .execute(&mut other)
        .await
        .unwrap();
    let failed = journal.append(journal.queue(), numbered(1..3), None).await.unwrap_err();
    assert_eq!(StageError::from(failed).code, "sqlite_constraint_trigger");
    sqlx::raw_sql("DROP TRIGGER full").execute(&mut other).await.unwrap();
    append(&journal, numbered(1..2)).await;
    assert_eq!((bodies(&journal, QUEUE).await, journal.waiting()), (texts(0..2), 2));
}

#[tokio::test]
async fn an_empty_journal_gives_its_space_back() {
    let (_folder, journal) = opened().await;
    let large = |_| Entry { body: Bytes::from(vec![b'x'; 1 << 20]), ..entry("large") };
    append(&journal, (0..48).map(large).collect()).await;
    journal.remove(journal.queue(), 0, i64::MAX).await.unwrap();
    let pages = || async {
        let mut look = super::file::opening(journal.file()).connect().await.unwrap();
        sqlx::query_scalar::<_, i64>("SELECT page_count FROM pragma_page_count()").fetch_one(&mut look).await.unwrap()
    };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    // Each piece of work on the empty queue gives a further piece back.
    while pages().await > 5000 {
        assert!(tokio::time::Instant::now() < deadline, "{} pages are left", pages().await);
        journal.remove(journal.queue(), 0, 0).await.unwrap();
    }
}

/// Bodies and places of the dead letters.
async fn dead(mailbox: &Mailbox) -> (Vec<String>, Vec<i64>) {
    let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
    let lying = sifting.next(usize::MAX).await.unwrap();
    lying.iter().map(|lying| (String::from_utf8(lying.message.body.to_vec()).unwrap(), lying.place)).unzip()
}

fn letters(range: std::ops::Range<u32>) -> Vec<Letter> {
    let message = |body: String| Message::new(MessageId::new(&body), Bytes::from(body), Arc::new(crate::message::NoProperties));
    texts(range).into_iter().map(|body| Letter { message: message(body), headers: Vec::new() }).collect()
}

#[tokio::test]
async fn a_letter_that_is_moved_is_on_one_queue_or_the_other_and_the_rest_keeps_its_order() {
    let (_folder, journal) = opened().await;
    let mailbox = journal.mailbox();
    mailbox.put(&SideQueue::Dead, &letters(0..5)).await.unwrap();
    let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
    // What comes now is not this sifting's affair.
    mailbox.put(&SideQueue::Dead, &letters(5..6)).await.unwrap();
    let lying = sifting.next(3).await.unwrap();
    let moved = [0, 2].map(|index| (lying[index].place, letters(10 + index as u32..11 + index as u32).remove(0)));
    sifting.move_to(&Destination::Source, moved.to_vec()).await.unwrap();
    sifting.discard(&[lying[1].place]).await.unwrap();
    assert_eq!(sifting.next(10).await.unwrap().len(), 2);
    assert_eq!((bodies(&journal, QUEUE).await, journal.waiting()), (vec!["10".to_owned(), "12".to_owned()], 2));
    assert_eq!(dead(&mailbox).await.0, texts(3..6));
}

#[tokio::test]
async fn a_letter_that_somebody_else_has_taken_is_not_moved_twice_and_nothing_else_is_moved_with_it() {
    let (_folder, journal) = opened().await;
    let mailbox = journal.mailbox();
    mailbox.put(&SideQueue::Dead, &letters(0..3)).await.unwrap();
    let places = dead(&mailbox).await.1;
    let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
    mailbox.sift(&SideQueue::Dead).await.unwrap().discard(&[places[1]]).await.unwrap();
    let moved = places.iter().copied().zip(letters(0..3)).collect();
    let failed = sifting.move_to(&Destination::Source, moved).await.unwrap_err();
    assert_eq!((failed.cause.code.as_str(), failed.moved), ("letters_taken", 0));
    assert_eq!(bodies(&journal, QUEUE).await, [""; 0]);
    assert_eq!(dead(&mailbox).await.0, ["0", "2"]);
    assert!(mailbox.has_waiting(&SideQueue::Dead).await.unwrap());
    assert!(!mailbox.has_waiting(&SideQueue::Parked("s".into())).await.unwrap());
}
