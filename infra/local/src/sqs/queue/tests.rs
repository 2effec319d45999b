use super::*;

const VISIBILITY: Duration = Duration::from_secs(30);

fn queue(max_receives: u32) -> Queue {
    Queue::new(&crate::template::Queue {
        name: "Q".into(),
        arn: "arn:Q".into(),
        visibility: VISIBILITY,
        delay: Duration::ZERO,
        redrive: Some(Redrive {
            target: "Dead".into(),
            max_receives,
        }),
    })
}

fn message(body: &str) -> Message {
    Message {
        body: body.into(),
        ..Message::default()
    }
}

/// Tests that start at an arbitrary moment and walk from there.
fn start() -> OperationTime {
    OperationTime {
        instant: Instant::now(),
        wall: Timestamp::UNIX_EPOCH,
    }
}

fn after(moment: OperationTime, by: Duration) -> OperationTime {
    OperationTime {
        instant: moment.instant + by,
        ..moment
    }
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received
        .iter()
        .map(|received| received.message.body.as_str())
        .collect()
}

#[test]
fn a_received_message_is_invisible_until_its_time_is_over() {
    let (mut queue, now) = (queue(5), start());
    queue.send("id", message("a"), None, now);
    assert_eq!(bodies(&queue.receive(10, None, now).0), ["a"]);
    assert!(queue.receive(10, None, after(now, VISIBILITY / 2)).0.is_empty());
    assert_eq!(
        queue.counts(now.instant),
        Counts {
            visible: 0,
            in_flight: 1,
            delayed: 0
        }
    );
    let (again, _) = queue.receive(10, None, after(now, VISIBILITY));
    assert_eq!((bodies(&again), again[0].receives), (vec!["a"], 2));
}

#[test]
fn a_delayed_message_comes_when_its_delay_is_over() {
    let (mut queue, now) = (queue(5), start());
    queue.send("id", message("later"), Some(Duration::from_mins(15)), now);
    queue.send("id", message("now"), None, now);
    assert_eq!(
        queue.counts(now.instant),
        Counts {
            visible: 1,
            in_flight: 0,
            delayed: 1
        }
    );
    assert_eq!(bodies(&queue.receive(10, None, now).0), ["now"]);
    assert_eq!(queue.next_visible(), Some(now.instant + VISIBILITY));
    let (later, _) = queue.receive(10, None, after(now, Duration::from_mins(15)));
    assert_eq!(bodies(&later), ["later", "now"]);
}

#[test]
fn an_old_receipt_deletes_nothing() {
    let (mut queue, now) = (queue(5), start());
    queue.send("id", message("a"), None, now);
    let (first, _) = queue.receive(1, None, now);
    let (second, _) = queue.receive(1, None, after(now, VISIBILITY));
    queue.delete(&first[0].receipt).unwrap();
    assert_eq!(queue.len(), 1);
    queue.delete(&second[0].receipt).unwrap();
    assert_eq!(queue.len(), 0);
    assert!(queue.delete("nonsense").is_err());
}

#[test]
fn a_message_received_too_often_becomes_a_dead_letter_and_keeps_its_id() {
    let (mut queue, mut dead_letters, mut now) = (queue(2), queue(5), start());
    queue.send("id", message("poison"), None, now);
    for _ in 0..2 {
        let (received, dead) = queue.receive(1, None, now);
        assert_eq!((received.len(), dead.len()), (1, 0));
        now = after(now, VISIBILITY);
    }
    let (received, dead) = queue.receive(1, None, now);
    assert!(received.is_empty());
    for dead in dead {
        dead_letters.move_in(dead, now);
    }
    let (moved, _) = dead_letters.receive(1, None, now);
    assert_eq!((moved[0].id.as_str(), moved[0].receives), ("id", 1));
}

#[test]
fn visibility_can_be_ended_at_once() {
    let (mut queue, now) = (queue(5), start());
    queue.send("id", message("a"), None, now);
    let (received, _) = queue.receive(1, None, now);
    queue
        .change_visibility(&received[0].receipt, Duration::ZERO, now)
        .unwrap();
    assert_eq!(queue.receive(1, None, now).0[0].receives, 2);
}

#[test]
fn a_duplicated_message_can_be_received_twice_at_once() {
    let (mut queue, now) = (queue(5), start());
    queue.duplicate_next(1);
    queue.send("id", message("a"), None, now);
    let (received, _) = queue.receive(10, None, now);
    assert_eq!(
        received
            .iter()
            .map(|received| received.id.as_str())
            .collect::<Vec<_>>(),
        ["id", "id"]
    );
}

#[test]
fn a_deleted_message_can_be_redelivered() {
    let (mut queue, now) = (queue(5), start());
    queue.send("id", message("a"), None, now);
    let (received, _) = queue.receive(1, None, now);
    queue.delete(&received[0].receipt).unwrap();
    assert_eq!(queue.redeliver(now.instant), 1);
    let (again, _) = queue.receive(1, None, now);
    assert_eq!((again[0].id.as_str(), again[0].receives), ("id", 2));
}

/// A message of a group; its body is the group's name and a number.
fn of(group: &str, number: usize) -> Message {
    Message {
        group: Some(group.into()),
        ..message(&format!("{group}{number}"))
    }
}

#[test]
fn a_backlog_of_one_group_does_not_hold_up_another() {
    let (mut queue, now) = (queue(5), start());
    for number in 0..10 {
        queue.send("id", of("loud", number), None, now);
    }
    queue.send("id", of("quiet", 0), None, now);
    queue.send("id", of("quiet", 1), None, now);
    queue.send("id", message("alone"), None, now);
    assert_eq!(
        bodies(&queue.receive(3, None, now).0),
        ["loud0", "quiet0", "alone"],
        "those with none in flight come first, the oldest of them before"
    );
    assert_eq!(
        bodies(&queue.receive(3, None, now).0),
        ["loud1", "quiet1", "loud2"]
    );
    queue.send("id", of("late", 0), None, now);
    assert_eq!(bodies(&queue.receive(2, None, now).0), ["late0", "loud3"]);
}

#[test]
fn what_was_deleted_or_is_visible_again_is_in_flight_no_more() {
    let (mut queue, now) = (queue(5), start());
    queue.send("id", of("a", 0), None, now);
    let (received, _) = queue.receive(1, None, now);
    for (group, number) in [("b", 0), ("a", 1)] {
        queue.send("id", of(group, number), None, now);
    }
    // Delayed is not in flight.
    queue.send("id", of("a", 2), Some(Duration::from_mins(15)), now);
    queue.delete(&received[0].receipt).unwrap();
    let (received, _) = queue.receive(1, None, now);
    assert_eq!(bodies(&received), ["b0"]);
    let (received, _) = queue.receive(1, None, after(now, VISIBILITY));
    assert_eq!(
        bodies(&received),
        ["b0"],
        "its time is over, and it is the oldest again"
    );
    assert_eq!(bodies(&queue.receive(9, None, after(now, VISIBILITY)).0), ["a1"]);
}

#[test]
fn within_a_group_and_without_any_the_oldest_comes_first() {
    let (mut queue, now) = (queue(5), start());
    for number in 0..5 {
        queue.send("id", of("a", number), None, now);
    }
    assert_eq!(
        bodies(&queue.receive(5, None, now).0),
        ["a0", "a1", "a2", "a3", "a4"]
    );
    for body in ["x", "y", "z"] {
        queue.send("id", message(body), None, now);
    }
    assert_eq!(bodies(&queue.receive(2, None, now).0), ["x", "y"]);
    assert_eq!(bodies(&queue.receive(2, None, now).0), ["z"]);
}

#[test]
fn what_is_worn_out_makes_room_for_what_is_not() {
    let (mut queue, now) = (queue(1), start());
    queue.send("id", message("worn out"), None, now);
    queue.receive(1, None, now);
    queue.send("id", message("new"), None, now);
    let (received, dead) = queue.receive(1, None, after(now, VISIBILITY));
    assert_eq!((bodies(&received), dead.len()), (vec!["new"], 1));
}
