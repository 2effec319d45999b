use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::conversation::ConversationKey;
use crate::time::later;

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millisecond).unwrap()
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

const LIMIT: Limit = Limit {
    requests: 50,
    per: SignedDuration::from_secs(1),
};

fn request(block: u32) -> PermitRequest {
    PermitRequest {
        slots: block,
        total: block,
        ticket: None,
    }
}

fn permits(answer: &Reservation) -> Permits {
    match answer {
        Reservation::Permits(permits) => *permits,
        Reservation::Later { until, .. } => panic!("later: {until}"),
    }
}

/// Everybody asks for blocks of 25 as soon as they may; the moments of the requests of so many askers.
fn requests(mut rate: TenantRate, askers: usize) -> (Vec<Timestamp>, TenantRate) {
    let mut waiting = vec![(at(0), None); askers];
    let mut made = Vec::new();
    while !waiting.is_empty() {
        waiting.sort();
        let (now, ticket) = waiting.remove(0);
        let (answer, new) = reserve(
            &rate,
            LIMIT,
            PermitRequest {
                ticket,
                ..request(25)
            },
            now,
        );
        rate = new.unwrap_or(rate);
        match answer {
            Reservation::Permits(permits) => made.extend((0..25).map(|number| permits.slot(number))),
            Reservation::Later { until, ticket, .. } => waiting.push((until, ticket)),
        }
    }
    made.sort();
    (made, rate)
}

#[test]
fn slots_follow_each_other_at_the_limit_whoever_takes_them() {
    let (first, rate) = reserve(&TenantRate::default(), LIMIT, request(10), at(0));
    let (second, _) = reserve(&rate.unwrap(), LIMIT, request(1), at(5));
    assert_eq!(permits(&first).slot(9), at(180));
    assert_eq!(permits(&second).slot(0), at(200));
}

#[test]
fn an_idle_tenant_saves_no_slots_up() {
    let (_, rate) = reserve(&TenantRate::default(), LIMIT, request(10), at(0));
    let (answer, _) = reserve(&rate.unwrap(), LIMIT, request(2), at(60_000));
    assert_eq!(
        (permits(&answer).slot(0), permits(&answer).slot(1)),
        (at(60_000), at(60_020))
    );
}

#[test]
fn a_backlog_stands_in_line_and_uses_every_slot() {
    let (made, _) = requests(TenantRate::default(), 400);
    assert_eq!(made.len(), 10_000);
    let took = made[9_999].duration_since(made[0]);
    assert!(took <= seconds(200), "{took}");
    assert!(
        made.windows(51)
            .all(|window| window[50].duration_since(window[0]) >= seconds(1))
    );
}

#[test]
fn a_line_that_is_held_up_keeps_its_order_and_nobody_comes_in_vain_for_long() {
    let (_, held) = reserve(&TenantRate::default(), LIMIT, request(25), at(0));
    let held = throttle(&held.unwrap(), LIMIT, Some(seconds(600)), at(0));
    let (mut rate, mut waiting, mut asked) = (held, vec![(at(0), None, 0); 100], 0);
    let mut served = Vec::new();
    while !waiting.is_empty() {
        waiting.sort();
        let (now, ticket, _) = waiting.remove(0);
        let (answer, new) = reserve(
            &rate,
            LIMIT,
            PermitRequest {
                ticket,
                ..request(25)
            },
            now,
        );
        rate = new.unwrap_or(rate);
        asked += 1;
        match answer {
            Reservation::Permits(permits) => served.push((permits.slot(0), ticket)),
            Reservation::Later { until, ticket, .. } => waiting.push((until, ticket, 0)),
        }
    }
    assert!(served[0].0 >= at(600_000));
    assert!(served.is_sorted_by_key(|(_, ticket)| *ticket));
    assert!(asked < 100 * 5, "{asked}");
}

#[test]
fn who_was_served_without_standing_in_line_does_not_wait_for_ever_when_the_line_is_held_up() {
    let (_, served) = reserve(&TenantRate::default(), LIMIT, request(1), at(0));
    let held = throttle(&served.unwrap(), LIMIT, Some(seconds(60)), at(10));
    let again = PermitRequest {
        ticket: Some(at(0)),
        ..request(1)
    };
    let (Reservation::Later { until, .. }, _) = reserve(&held, LIMIT, again, at(20)) else {
        panic!("sent in spite of Retry-After");
    };
    assert!(until <= at(61_000), "{until}");
}

#[test]
fn a_429_halves_the_rate_once_for_its_burst_and_the_rate_recovers() {
    let slowed = throttle(&TenantRate::default(), LIMIT, None, at(0));
    let again = throttle(&slowed, LIMIT, None, at(500));
    assert_eq!(again.rate(LIMIT, at(1000)), 26_000);
    assert_eq!(again.rate(LIMIT, at(10_000)), 35_000);
    assert_eq!(again.rate(LIMIT, at(60_000)), 50_000);
    assert_eq!(again.next_slot, at(1500));
}

#[test]
fn retry_after_holds_for_everyone_in_the_bucket() {
    let held = throttle(&TenantRate::default(), LIMIT, Some(seconds(645)), at(0));
    let (answer, _) = reserve(&held, LIMIT, request(1), at(10));
    let Reservation::Later { until, .. } = answer else {
        panic!("sent in spite of Retry-After");
    };
    assert!(until >= at(640_000), "{until}");
}

#[test]
fn several_refusals_that_speak_of_the_tenant_pause_it_and_one_does_not() {
    let mut rate = TenantRate::default();
    for strike_number in 0..2 {
        rate = record_failure(&rate, "BotDisabledByAdmin", at(strike_number));
        assert_eq!(rate.breaker, None);
    }
    rate = record_failure(&rate, "BotDisabledByAdmin", at(2));
    let until = rate.breaker.clone().unwrap().until;
    assert!(matches!(
        reserve(&rate, LIMIT, request(1), at(3)).0,
        Reservation::Later { reason: WaitReason::BreakerOpen(code), .. } if code == "BotDisabledByAdmin"
    ));
    assert!(matches!(
        reserve(&rate, LIMIT, request(1), until).0,
        Reservation::Permits(_)
    ));
    assert!(
        record_failure(&rate, "BotDisabledByAdmin", until)
            .breaker
            .unwrap()
            .until
            > until
    );
}

#[test]
fn no_window_of_a_conversation_ever_holds_more_than_its_limit() {
    let limits = Limits::teams().conversation;
    let conversation = ConversationRate::within(&limits);
    let (mut next, mut now, mut made) = (None, at(0), Vec::new());
    while made.len() < 4000 {
        match conversation.take(next, now) {
            Ok(then) => {
                made.push(now);
                next = Some(then);
            }
            Err(free) => now = free,
        }
    }
    for limit in limits {
        let count = limit.requests as usize;
        let crowded = made
            .windows(count + 1)
            .any(|window| window[count].duration_since(window[0]) < limit.per);
        assert!(!crowded, "more than {limit}");
    }
    let hour = made
        .iter()
        .filter(|moment| moment.duration_since(at(0)) < seconds(3600))
        .count();
    assert!(hour >= 1800 * 9 / 10, "{hour} in an hour");
}

#[test]
fn a_limit_is_read_as_it_is_written() {
    for text in ["45/1s", "1800/3600s"] {
        assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
    }
    for text in ["", "45", "45/1", "0/1s", "45/0s", "a/1s", "-1/1s"] {
        assert!(text.parse::<Limit>().is_err(), "{text}");
    }
}

#[test]
fn a_line_whose_people_do_not_come_holds_nobody_up() {
    let long = PermitRequest {
        total: 1_000_000,
        ..request(25)
    };
    let (_, rate) = reserve(&TenantRate::default(), LIMIT, request(250), at(0));
    let (lined_up, rate) = reserve(&rate.unwrap(), LIMIT, long, at(0));
    assert!(matches!(lined_up, Reservation::Later { .. }));
    let rate = rate.unwrap();
    assert!(rate.queue_end > at(20_000_000), "the line is hours long");
    // It was cancelled: its slots stand unused.
    assert!(matches!(
        reserve(&rate, LIMIT, request(25), at(20_000)).0,
        Reservation::Later { .. }
    ));
    assert!(matches!(
        reserve(&rate, LIMIT, request(25), at(40_000)).0,
        Reservation::Permits(_)
    ));
}

#[test]
fn a_message_that_arrives_acquits_its_tenant() {
    let mut rate = TenantRate::default();
    for number in 0..3 {
        rate = record_failure(&rate, "BotDisabledByAdmin", at(number));
    }
    assert!(rate.breaker.is_some());
    let acquitted = record_success(&rate).unwrap();
    assert!(permits(&reserve(&rate, LIMIT, request(1), at(1_000_000)).0).is_suspect());
    assert!(!permits(&reserve(&acquitted, LIMIT, request(1), at(3)).0).is_suspect());
    assert_eq!(record_success(&acquitted), None);
    assert_eq!(
        record_failure(&acquitted, "BotDisabledByAdmin", at(4)).breaker,
        None,
        "counted from the beginning"
    );
}

#[test]
fn a_bucket_knows_its_conversations_whatever_the_ids_hold() {
    for (channel, bot, conversation) in [
        ("msteams", "28:b", "a:1"),
        ("a|b", "%7C|%25", "|x|"),
        ("", "", ""),
    ] {
        let key = ConversationKey {
            conversation: conversation.into(),
            channel: channel.into(),
            bot: bot.into(),
        };
        for tenant in [None, Some("t"), Some("t|u")] {
            let bucket = Bucket::of(&key, tenant);
            assert!(bucket.contains(&key), "{bucket:?}");
            assert_eq!(bucket.conversation(conversation.into()), Some(key.clone()));
            assert_eq!(bucket.tenant(), tenant);
        }
    }
    let other: ConversationKey = "msteams|28:other|a:1".parse().unwrap();
    assert!(!Bucket::of(&"msteams|28:b|a:1".parse().unwrap(), None).contains(&other));
}

#[test]
fn graph_has_a_bucket_of_its_own_for_each_bot_and_tenant() {
    let bucket = |tenant| {
        let key: ConversationKey = "msteams|28:bot|a:1".parse().unwrap();
        Bucket::of(&key, Some(tenant))
    };
    let graph = bucket("t1").for_graph();
    assert_eq!(graph.as_str(), "graph|28:bot|t1");
    assert_eq!(graph.tenant(), Some("t1"));
    assert_ne!(graph, bucket("t2").for_graph());
}

#[test]
fn refusals_of_the_token_pause_the_tenant_and_are_final_once_they_paused_it_often_enough() {
    let (mut rate, mut now) = (TenantRate::default(), at(0));
    let mut refuse = |now| {
        let (refusal, new) = record_token_refusal(&rate, "BotNotRegistered", 2, now);
        rate = new.unwrap_or_else(|| rate.clone());
        refusal
    };
    for _ in 0..2 {
        assert_eq!(refuse(now), TokenRefusal::Counted);
    }
    for is_first in [true, false] {
        let TokenRefusal::Opened {
            until,
            is_first: said,
        } = refuse(now)
        else {
            panic!("not paused");
        };
        assert_eq!((until.duration_since(now), said), (seconds(900), is_first));
        // Those that were under way when it opened.
        assert_eq!(
            refuse(now),
            TokenRefusal::Opened {
                until,
                is_first: false
            }
        );
        now = until;
    }
    for later_by in [0, 1, 3600] {
        now = later(now, seconds(later_by));
        assert_eq!(refuse(now), TokenRefusal::Final);
        assert_eq!(refuse(now), TokenRefusal::Final);
    }
    now = later(now, seconds(25 * 3600));
    assert_eq!(
        refuse(now),
        TokenRefusal::Counted,
        "a day later it may be another reason"
    );
}

#[test]
fn a_message_that_arrives_ends_the_refusal_of_the_token() {
    let mut rate = TenantRate::default();
    for second in [0, 1, 2, 1000] {
        rate = record_token_refusal(&rate, "Http401", 1, at(second * 1000))
            .1
            .unwrap_or(rate);
    }
    assert_eq!(
        record_token_refusal(&rate, "Http401", 1, at(1_001_000)).0,
        TokenRefusal::Final
    );
    let well = record_success(&rate).unwrap();
    assert_eq!(
        record_token_refusal(&well, "Http401", 1, at(1_002_000)).0,
        TokenRefusal::Counted
    );
}
