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

const BULK: QueueClass = QueueClass {
    flow: FlowId::shared(1),
    weight: 1,
    size: Size::Large,
};

fn class(name: &str, weight: u32) -> QueueClass {
    QueueClass {
        flow: FlowId::named(name),
        weight,
        size: Size::Large,
    }
}

/// A request that does not queue.
fn ahead(slots: u32) -> PermitRequest {
    PermitRequest { slots, place: None }
}

fn in_turn(class: QueueClass, slots: u32, ticket: Option<Ticket>) -> PermitRequest {
    PermitRequest {
        slots,
        place: Some(QueuePlace {
            class,
            total: slots,
            ticket,
        }),
    }
}

fn permits(answer: &Reservation) -> Permits {
    match answer {
        Reservation::Permits { permits, .. } => *permits,
        Reservation::Later { until, .. } => panic!("later: {until}"),
    }
}

fn patience(openings: u32) -> TokenPatience {
    TokenPatience {
        pause: OPEN_DURATION,
        openings,
    }
}

/// A chunk of requests that its sender makes as soon as it may.
#[derive(Clone)]
struct Asker {
    class: QueueClass,
    left: u32,
    ticket: Option<Ticket>,
    /// It ends at this moment with whatever is left: its notification is cancelled.
    ends: Timestamp,
}

impl Asker {
    fn new(class: QueueClass, requests: u32) -> Self {
        Self {
            class,
            left: requests,
            ticket: None,
            ends: Timestamp::MAX,
        }
    }
}

/// A request that was made: when, and in which flow.
type Made = (Timestamp, FlowId);

/// Runs these askers, each from its moment on. A wait of more than two seconds goes through the queue, whose delays are whole
/// seconds.
fn run(mut rate: TenantRate, askers: Vec<(Timestamp, Asker)>) -> (Vec<Made>, u32) {
    let mut waiting: Vec<(Timestamp, usize)> = askers.iter().map(|(at, _)| *at).zip(0..).collect();
    let mut askers: Vec<Asker> = askers.into_iter().map(|(_, asker)| asker).collect();
    let (mut made, mut requests) = (Vec::new(), 0);
    while !waiting.is_empty() {
        waiting.sort();
        let (now, number) = waiting.remove(0);
        let asker = &mut askers[number];
        if now >= asker.ends {
            continue;
        }
        requests += 1;
        let (answer, new) = reserve(&rate, LIMIT, in_turn(asker.class, asker.left, asker.ticket), now);
        rate = new.unwrap_or(rate);
        match answer {
            Reservation::Permits { permits, ticket } => {
                made.extend((0..permits.count()).map(|slot| (permits.slot(slot), asker.class.flow)));
                (asker.left, asker.ticket) = (asker.left - permits.count(), ticket);
                if asker.left > 0 {
                    waiting.push((now, number));
                }
            }
            Reservation::Later { until, ticket, .. } => {
                asker.ticket = ticket;
                let wait = until.duration_since(now);
                let delayed = later(now, seconds(wait.as_secs() + i64::from(wait.subsec_nanos() > 0)));
                let back = if wait > seconds(2) { delayed } else { until };
                waiting.push((back.min(asker.ends.max(now)), number));
            }
        }
    }
    made.sort();
    (made, requests)
}

fn chunks(class: QueueClass, count: usize) -> Vec<(Timestamp, Asker)> {
    vec![(at(0), Asker::new(class, 96)); count]
}

/// The time from `from` to the last request of a flow, in seconds.
fn last_of(made: &[Made], flow: FlowId, from: Timestamp) -> f64 {
    let of_flow = made.iter().filter(|(_, of)| *of == flow);
    of_flow
        .map(|(at, _)| at.duration_since(from).as_secs_f64())
        .fold(0.0, f64::max)
}

fn assert_within_limit(made: &[Made]) {
    let is_over = |window: &[Made]| window[50].0.duration_since(window[0].0) < seconds(1);
    assert!(!made.windows(51).any(is_over));
}

#[test]
fn slots_follow_each_other_at_the_limit_whoever_takes_them() {
    let (first, rate) = reserve(&TenantRate::default(), LIMIT, ahead(10), at(0));
    let (second, _) = reserve(&rate.unwrap(), LIMIT, in_turn(BULK, 1, None), at(5));
    assert_eq!(permits(&first).slot(9), at(180));
    assert_eq!(permits(&second).slot(0), at(200));
}

#[test]
fn an_idle_tenant_saves_no_slots_up() {
    let (_, rate) = reserve(&TenantRate::default(), LIMIT, ahead(10), at(0));
    let (answer, _) = reserve(&rate.unwrap(), LIMIT, ahead(2), at(60_000));
    assert_eq!(
        (permits(&answer).slot(0), permits(&answer).slot(1)),
        (at(60_000), at(60_020))
    );
}

#[test]
fn a_backlog_queues_and_uses_every_slot() {
    let (made, asked) = run(TenantRate::default(), chunks(class("a", 1), 104));
    assert_eq!(made.len(), 9984);
    let took = made[9983].0.duration_since(made[0].0);
    assert!(took <= seconds(203), "{took}");
    assert_within_limit(&made);
    assert!(asked < 104 * 20, "{asked} requests to the table for 104 chunks");
}

#[test]
fn two_notifications_of_one_weight_take_turns() {
    let (one, other) = (class("a", 1), class("b", 1));
    let mut askers = chunks(one, 20);
    askers.extend(chunks(other, 20));
    let (made, _) = run(TenantRate::default(), askers);
    assert_within_limit(&made);
    for upto in [500, 1000, 2000, 3000] {
        let of_one = made[..upto].iter().filter(|(_, flow)| *flow == one.flow).count();
        // The first may be two chunks ahead.
        assert!(
            of_one.abs_diff(upto - of_one) <= 200,
            "{of_one} of the first {upto}"
        );
    }
}

#[test]
fn a_new_notification_goes_out_within_two_seconds_beside_broadcasts() {
    for broadcasts in 1..=4 {
        let mut askers: Vec<_> = (0..broadcasts)
            .flat_map(|number| chunks(class(&format!("b{number}"), 1), 50))
            .collect();
        let single = QueueClass {
            flow: FlowId::shared(8),
            weight: 8,
            size: Size::Small,
        };
        let moments: Vec<i64> = (1..40).map(|number| number * 977).collect();
        askers.extend(moments.iter().map(|now| (at(*now), Asker::new(single, 1))));
        let (made, _) = run(TenantRate::default(), askers);
        assert_within_limit(&made);
        let singles = made.iter().filter(|(_, flow)| *flow == single.flow);
        for (asked, (sent, _)) in moments.iter().zip(singles) {
            let waited = sent.duration_since(at(*asked));
            assert!(waited <= seconds(2), "{waited} beside {broadcasts}");
        }
    }
}

#[test]
fn a_heavy_notification_overtakes_and_a_light_one_keeps_its_share() {
    let (bulk, urgent) = (class("bulk", 1), class("urgent", 16));
    let mut askers = chunks(bulk, 30);
    askers.extend(vec![(at(3000), Asker::new(urgent, 96)); 10]);
    let (made, _) = run(TenantRate::default(), askers);
    assert_within_limit(&made);
    // 960 requests at sixteen of seventeen parts of 50 a second.
    let took = last_of(&made, urgent.flow, at(3000));
    assert!(took <= 24.0, "{took:.1} s");
    let meanwhile = made
        .iter()
        .filter(|(moment, flow)| *flow == bulk.flow && (at(5000)..at(20_000)).contains(moment));
    let meanwhile = meanwhile.count();
    assert!(
        (30..250).contains(&meanwhile),
        "{meanwhile} bulk requests in 15 s"
    );
    assert!(last_of(&made, bulk.flow, at(0)) <= 3840.0 / 50.0 * 1.05);
}

#[test]
fn what_was_cancelled_leaves_its_slots_to_the_others() {
    let (one, other) = (class("a", 1), class("b", 1));
    let mut askers = chunks(one, 50);
    for (_, asker) in &mut askers {
        asker.ends = at(10_000);
    }
    askers.extend(chunks(other, 20));
    let (made, _) = run(TenantRate::default(), askers);
    let sent_before = made.iter().filter(|(moment, _)| *moment < at(10_000)).count();
    let rest = u32::try_from(20 * 96 - sent_before / 2).unwrap();
    let took = last_of(&made, other.flow, at(10_000));
    assert!(took <= f64::from(rest) / 50.0 + 5.0, "{took:.1} s for {rest}");
}

#[test]
fn a_queue_that_is_on_hold_goes_on_and_asks_seldom() {
    let held = throttle(&TenantRate::default(), LIMIT, Some(seconds(600)), at(0));
    let (made, asked) = run(held, chunks(class("a", 1), 50));
    assert_eq!(made.len(), 4800);
    assert!(made[0].0 >= at(600_000));
    // The rate has recovered meanwhile: 96 seconds at the limit.
    let took = made[4799].0.duration_since(at(600_000));
    assert!(took <= seconds(105), "{took}");
    assert!(asked < 50 * 20, "{asked}");
}

#[test]
fn one_more_request_of_what_is_under_way_waits_for_no_queue() {
    let mut askers = chunks(class("a", 1), 10);
    askers.truncate(10);
    let mut rate = TenantRate::default();
    for (_, asker) in askers {
        let (_, new) = reserve(&rate, LIMIT, in_turn(asker.class, 96, None), at(0));
        rate = new.unwrap_or(rate);
    }
    let (answer, _) = reserve(&rate, LIMIT, ahead(1), at(100));
    assert!(permits(&answer).slot(0) <= at(1200));
}

#[test]
fn more_notifications_than_flows_share_one_and_the_record_stays_small() {
    let mut rate = TenantRate::default();
    for number in 0..100 {
        let class = class(&format!("n{number}"), 4);
        let (_, new) = reserve(&rate, LIMIT, in_turn(class, 96, None), at(number));
        rate = new.unwrap_or(rate);
    }
    assert_eq!(rate.flows.len(), MAX_FLOWS + 1);
    let shared = rate
        .flows
        .iter()
        .find(|flow| flow.id == FlowId::shared(4))
        .unwrap();
    assert!(shared.waiting() > 96 * 80);
    for flow in &mut rate.flows {
        (flow.issued, flow.granted) = (u64::from(u32::MAX), u64::from(u32::MAX));
    }
    let bytes = serde_json::to_string(&rate.flows).unwrap().len();
    assert!(bytes <= 850, "{bytes} of the 1,024 bytes of one write unit");
}

#[test]
fn a_ticket_of_an_earlier_content_is_void() {
    let mut rate = TenantRate::default();
    for _ in 0..20 {
        rate = reserve(&rate, LIMIT, in_turn(class("a|0", 1), 96, None), at(0))
            .1
            .unwrap_or(rate);
    }
    let old = Ticket {
        flow: FlowId::named("a|0"),
        position: 1800,
        paid: 0,
    };
    let (answer, _) = reserve(&rate, LIMIT, in_turn(class("a|1", 1), 96, Some(old)), at(0));
    let Reservation::Later { until, ticket, .. } = answer else {
        panic!("the slots are taken: {answer:?}");
    };
    assert!(until <= at(1000), "{until}");
    assert_eq!(ticket.unwrap().position, 0);
}

#[test]
fn a_tenant_on_hold_is_asked_for_nothing_by_what_queues_and_by_what_does_not() {
    let held = throttle(&TenantRate::default(), LIMIT, Some(seconds(60)), at(0));
    for request in [ahead(1), in_turn(BULK, 1, None)] {
        let (Reservation::Later { until, .. }, _) = reserve(&held, LIMIT, request, at(20)) else {
            panic!("sent in spite of Retry-After");
        };
        assert!((at(25_000)..=at(60_000)).contains(&until), "{until}");
    }
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
    let (answer, _) = reserve(&held, LIMIT, ahead(1), at(10));
    let Reservation::Later { until, .. } = answer else {
        panic!("sent in spite of Retry-After");
    };
    assert!(until >= at(300_000), "{until}");
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
        reserve(&rate, LIMIT, ahead(1), at(3)).0,
        Reservation::Later { reason: WaitReason::BreakerOpen(code), .. } if code == "BotDisabledByAdmin"
    ));
    assert!(matches!(
        reserve(&rate, LIMIT, ahead(1), until).0,
        Reservation::Permits { .. }
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
fn a_message_that_arrives_acquits_its_tenant() {
    let mut rate = TenantRate::default();
    for number in 0..3 {
        rate = record_failure(&rate, "BotDisabledByAdmin", at(number));
    }
    assert!(rate.breaker.is_some());
    let acquitted = record_success(&rate).unwrap();
    assert!(permits(&reserve(&rate, LIMIT, ahead(1), at(1_000_000)).0).is_suspect());
    assert!(!permits(&reserve(&acquitted, LIMIT, ahead(1), at(3)).0).is_suspect());
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
        let (refusal, new) = record_token_refusal(&rate, "BotNotRegistered", patience(2), now);
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
fn refusals_are_not_final_before_the_pauses_are_over_though_shorter_ones_opened_the_breaker() {
    let short = TokenPatience {
        pause: seconds(60),
        openings: 2,
    };
    let mut rate = TenantRate::default();
    let mut refuse = |patience, now: i64| {
        let (refusal, new) = record_token_refusal(&rate, "BotNotRegistered", patience, at(now * 1000));
        rate = new.unwrap_or_else(|| rate.clone());
        refusal
    };
    for second in [0, 0, 0, 60] {
        refuse(short, second);
    }
    // A delivery to another tenant says now that the token is not to blame: the pauses are 15 minutes from here on.
    let mut now = 120;
    while !matches!(refuse(patience(2), now), TokenRefusal::Final) {
        now += 60;
    }
    // The pause that is running then ends first.
    assert!((1800..2700).contains(&now), "final after {now} s");
}

#[test]
fn a_message_that_arrives_ends_the_refusal_of_the_token() {
    let mut rate = TenantRate::default();
    for second in [0, 1, 2, 1000] {
        rate = record_token_refusal(&rate, "Http401", patience(1), at(second * 1000))
            .1
            .unwrap_or(rate);
    }
    assert_eq!(
        record_token_refusal(&rate, "Http401", patience(1), at(1_001_000)).0,
        TokenRefusal::Final
    );
    let well = record_success(&rate).unwrap();
    assert_eq!(
        record_token_refusal(&well, "Http401", patience(1), at(1_002_000)).0,
        TokenRefusal::Counted
    );
}
