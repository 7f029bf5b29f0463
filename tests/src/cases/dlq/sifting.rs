//! Taking some letters out of a queue while the others stay, in order, however often that is done.

use tidegate::source::{Destination, Lying, Mailbox as _, SideQueue, Sifting};

use super::{Kind, letter, mailbox, numbers, with_letters};
use crate::broker::eventually;

fn number(lying: &Lying) -> usize {
    lying.message.id.as_ref().unwrap().as_str().trim_start_matches("m-").parse().unwrap()
}

/// Goes through all that there is; gives the numbers, and the places of those that match.
async fn go_through(sifting: &mut Box<dyn Sifting + '_>, take: impl Fn(usize) -> bool) -> (Vec<usize>, Vec<usize>) {
    let (mut seen, mut taken) = (Vec::new(), Vec::new());
    loop {
        let page = sifting.next(700).await.unwrap();
        if page.is_empty() {
            return (seen, taken);
        }
        seen.extend(page.iter().map(number));
        let matching: Vec<&Lying> = page.iter().filter(|lying| take(number(lying))).collect();
        taken.extend(matching.iter().map(|lying| number(lying)));
        sifting.discard(&matching.iter().map(|lying| lying.place).collect::<Vec<_>>()).await.unwrap();
    }
}

async fn keeps_the_order(kind: Kind) {
    const COUNT: usize = 2500;
    let queue = with_letters(kind, COUNT).await;
    let mailbox = mailbox(&queue);
    // More often than the 20 times after which a broker may drop what is given back.
    for _ in 0..22 {
        let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
        assert_eq!(sifting.total(), COUNT as u64);
        let (seen, _) = go_through(&mut sifting, |_| false).await;
        let out_of_order = seen.windows(2).find(|pair| pair[0] >= pair[1]);
        assert!(seen.iter().copied().eq(0..COUNT), "{kind:?} {} {out_of_order:?} {:?}", seen.len(), seen.first());
        sifting.leave().await.unwrap();
    }
    let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
    let (_, taken) = go_through(&mut sifting, |number| number % 3 == 0).await;
    assert!(taken.into_iter().eq((0..COUNT).step_by(3)));
    sifting.leave().await.unwrap();
    assert!(numbers(&queue, &queue.dead()).await.into_iter().eq((0..COUNT).filter(|number| number % 3 != 0)), "{kind:?}");
}

#[tokio::test]
async fn letters_of_a_quorum_queue_keep_their_order_however_often_they_are_looked_at() {
    keeps_the_order(Kind::Quorum).await;
}

#[tokio::test]
async fn letters_of_a_classic_queue_keep_their_order_however_often_they_are_looked_at() {
    keeps_the_order(Kind::Classic).await;
}

async fn moves(kind: Kind) {
    let queue = with_letters(kind, 100).await;
    let mailbox = mailbox(&queue);
    let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
    let page = sifting.next(50).await.unwrap();
    let moved =
        page.iter().filter(|lying| number(lying).is_multiple_of(2)).map(|lying| (lying.place, letter(number(lying)))).collect();
    sifting.move_to(&Destination::Side(SideQueue::Parked("history".into())), moved).await.unwrap();
    // What comes while somebody goes through the letters is not his affair.
    mailbox.put(&SideQueue::Dead, &[letter(100)]).await.unwrap();
    let (rest, _) = go_through(&mut sifting, |_| false).await;
    assert!(rest.into_iter().eq(50..100), "{kind:?}");
    sifting.leave().await.unwrap();
    let mut parked = mailbox.open(&SideQueue::Parked("history".into())).await.unwrap();
    let parked = parked.next(100).await.unwrap().into_iter().map(|message| number(&Lying { place: 0, message }));
    assert!(parked.eq((0..50).step_by(2)));
    let left: Vec<usize> = numbers(&queue, &queue.dead()).await;
    assert!(left.iter().copied().eq((1..50).step_by(2).chain(50..101)), "{kind:?} {left:?}");
}

#[tokio::test]
async fn what_is_moved_is_on_the_other_queue_and_what_is_not_stays_in_order_on_a_quorum_queue() {
    moves(Kind::Quorum).await;
}

#[tokio::test]
async fn what_is_moved_is_on_the_other_queue_and_what_is_not_stays_in_order_on_a_classic_queue() {
    moves(Kind::Classic).await;
}

#[tokio::test]
async fn two_do_not_go_through_the_same_letters_at_one_time() {
    let queue = with_letters(Kind::Quorum, 10).await;
    let mailbox = mailbox(&queue);
    let mut first = mailbox.sift(&SideQueue::Dead).await.unwrap();
    assert_eq!(first.next(1).await.unwrap().len(), 1);
    let second = mailbox.sift(&SideQueue::Dead).await.map(drop).unwrap_err();
    assert_eq!(second.code, "busy");
    first.leave().await.unwrap();
    eventually("the queue to be free", async || mailbox.sift(&SideQueue::Dead).await.is_ok()).await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_has_no_letters() {
    let queue = crate::broker::Queue::classic().await;
    let mailbox = mailbox(&queue);
    let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
    assert!(sifting.next(10).await.unwrap().is_empty());
    sifting.leave().await.unwrap();
    assert!(!mailbox.has_waiting(&SideQueue::Dead).await.unwrap());
    mailbox.put(&SideQueue::Dead, &[letter(1)]).await.unwrap();
    assert!(mailbox.has_waiting(&SideQueue::Dead).await.unwrap());
}

async fn keeps_the_order_when_only_the_first_are_looked_at(kind: Kind) {
    // More than the broker sends ahead.
    const COUNT: usize = 2500;
    let queue = with_letters(kind, COUNT).await;
    let mailbox = mailbox(&queue);
    for all in [false, true, false, false] {
        let mut sifting = mailbox.sift(&SideQueue::Dead).await.unwrap();
        if all {
            go_through(&mut sifting, |_| false).await;
            sifting.leave().await.unwrap();
            continue;
        }
        assert_eq!(sifting.next(1).await.unwrap().len(), 1);
        sifting.leave().await.unwrap();
    }
    let left = numbers(&queue, &queue.dead()).await;
    let out_of_order = left.windows(2).find(|pair| pair[0] >= pair[1]);
    assert!(left.iter().copied().eq(0..COUNT), "{kind:?}: {} letters, from {:?}, {out_of_order:?}", left.len(), left.first());
}

#[tokio::test]
async fn letters_of_a_quorum_queue_keep_their_order_when_only_the_first_are_looked_at() {
    keeps_the_order_when_only_the_first_are_looked_at(Kind::Quorum).await;
}

#[tokio::test]
async fn letters_of_a_classic_queue_keep_their_order_when_only_the_first_are_looked_at() {
    keeps_the_order_when_only_the_first_are_looked_at(Kind::Classic).await;
}
