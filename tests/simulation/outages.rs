//! What a refusal of the bot costs: deliveries of the tenant that refuses alone; when all tenants refuse, none.

use std::sync::Arc;
use std::time::Duration;

use herald::bot_health::OutageCause;
use jiff::SignedDuration;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::book::Fate;
use super::callers::{Wish, call};
use super::channel::{Kind, REGIONS};
use super::fate::{Chance, Troubles};
use super::functions::{Planner, Sender};
use super::lambda::poll;
use super::people::{Happening, found, happens, settle};
use super::run::Run;
use super::{ends, in_a_run, quiet};

/// People in each tenant.
const PEOPLE: usize = 5;

/// A run without faults, with so many tenants whose people all know the bot, and workers.
async fn crowd(chance: &Chance, tenants: usize) -> Arc<Run> {
    let mut run = Run::new(Troubles::default(), chance.fork(), 96);
    // Nothing is held.
    run.confirm_above = u64::MAX;
    let run = Arc::new(run);
    run.channel.with(|channel| {
        for tenant in 0..tenants {
            found(channel, false, true);
            for _ in 0..PEOPLE {
                settle(channel, Kind::Person, tenant, chance.index(REGIONS));
            }
        }
    });
    for place in 0..tenants * PEOPLE {
        happens(&run, Happening::Appears(place)).await;
    }
    run.book(|book| book.wanted.resize_with(1, Default::default));
    spawn_local(poll(Arc::clone(&run), Planner, 0));
    for number in 0..2 {
        spawn_local(poll(Arc::clone(&run), Sender, number));
    }
    run
}

async fn broadcast(run: &Arc<Run>) {
    call(Arc::clone(run), 0, Wish::to_everyone()).await;
}

/// How many messages the people of a tenant got.
fn arrived(run: &Run, tenant: usize) -> usize {
    run.channel.with(|channel| {
        let messages = channel.messages.values();
        messages
            .filter(|message| channel.places[message.place].tenant == tenant)
            .count()
    })
}

/// How many requests were made about the people of a tenant.
fn requests(run: &Run, tenant: usize) -> usize {
    let places = run.channel.with(|channel| channel.places.len());
    let of = |place: Option<usize>| {
        place.is_some_and(|place| {
            place < places && run.channel.with(|channel| channel.places[place].tenant == tenant)
        })
    };
    let asked: Vec<_> = run.book(|book| book.requests.iter().map(|request| request.place).collect());
    asked.into_iter().filter(|place| of(*place)).count()
}

fn violation(run: &Run) -> Option<String> {
    run.book(|book| book.violation().map(str::to_owned))
}

#[test]
fn a_tenant_that_refuses_the_bot_delays_no_other_and_is_given_up_within_the_hour() {
    for seed in 0..5 {
        in_a_run(seed, async |chance: Chance| {
            let run = crowd(&chance, 2).await;
            happens(&run, Happening::RefusesTheToken(1, true)).await;
            broadcast(&run).await;
            sleep(Duration::from_secs(10)).await;
            assert_eq!(
                arrived(&run, 0),
                PEOPLE,
                "seed {seed}: the others wait\n{}",
                run.trace.whole()
            );
            quiet(&run).await;
            ends::check(&run);
            assert_eq!(violation(&run), None, "seed {seed}\n{}", run.trace.tail(80));
            assert_eq!(arrived(&run, 1), 0);
            assert!(
                run.elapsed() < SignedDuration::from_hours(1),
                "{:?}",
                run.elapsed()
            );
            // Three rounds of one attempt each, in which the request is repeated once with a new token.
            let asked = requests(&run, 1);
            assert!(
                asked <= 3 * 2 * PEOPLE,
                "{asked} requests to a tenant that refuses"
            );
            let told = run.trace.whole();
            assert_eq!(
                told.matches("as Rejected { code: \"BotNotRegistered\"").count(),
                PEOPLE,
                "{told}"
            );
            assert_eq!(told.matches("TenantRefusesBot").count(), 1);
            assert!(!told.contains("BotOutageBegan"));
        });
    }
}

#[test]
fn a_tenant_that_accepts_the_bot_again_in_time_loses_nothing() {
    in_a_run(0, async |chance: Chance| {
        let run = crowd(&chance, 2).await;
        happens(&run, Happening::RefusesTheToken(1, true)).await;
        broadcast(&run).await;
        sleep(Duration::from_mins(10)).await;
        happens(&run, Happening::RefusesTheToken(1, false)).await;
        quiet(&run).await;
        ends::check(&run);
        assert_eq!(violation(&run), None);
        assert_eq!((arrived(&run, 0), arrived(&run, 1)), (PEOPLE, PEOPLE));
        assert_eq!(run.bot_health().refusals, []);
    });
}

#[test]
fn while_every_tenant_refuses_the_bot_nothing_fails_and_then_everything_is_sent() {
    in_a_run(0, async |chance: Chance| {
        let run = crowd(&chance, 3).await;
        happens(&run, Happening::RefusesTheBot(true)).await;
        broadcast(&run).await;
        // Longer than one tenant alone would be waited for.
        sleep(Duration::from_hours(3)).await;
        let outage = run.bot_health().outage.unwrap();
        assert_eq!(
            (outage.cause, outage.code.as_str(), outage.announced),
            (OutageCause::TokenRefused, "BotNotRegistered", true)
        );
        happens(&run, Happening::RefusesTheBot(false)).await;
        quiet(&run).await;
        ends::check(&run);
        assert_eq!(violation(&run), None);
        for tenant in 0..3 {
            assert_eq!(arrived(&run, tenant), PEOPLE);
        }
        assert_eq!(run.bot_health().outage, None);
    });
}

#[test]
fn without_a_token_deliveries_wait_operators_are_told_and_all_are_sent_afterwards() {
    for seed in 0..5 {
        in_a_run(seed, async |chance: Chance| {
            let run = crowd(&chance, 2).await;
            happens(&run, Happening::RefusesTheSecret(true)).await;
            let began = run.now();
            broadcast(&run).await;
            sleep(Duration::from_mins(3)).await;
            let outage = run.bot_health().outage.unwrap();
            assert_eq!(
                (outage.cause, outage.code.as_str(), outage.announced),
                (OutageCause::NoToken, "AADSTS7000222", true)
            );
            assert!(outage.since.duration_since(began) < SignedDuration::from_mins(1));
            sleep(Duration::from_hours(2)).await;
            assert_eq!(
                run.bot_health().outage.map(|outage| outage.since),
                Some(outage.since)
            );
            assert_eq!(run.book(|book| book.requests.len()), 0);
            let told = run.trace.whole();
            // Workers that fail at the same moment may publish the same event.
            let same = format!("tells outage/{}/began", outage.since);
            assert_eq!(
                told.matches("BotOutageBegan").count(),
                told.matches(&same).count()
            );
            assert!((1..=2).contains(&told.matches(&same).count()));
            let asked = told.matches("asks for a token: refused").count();
            assert!((60..600).contains(&asked), "{asked} token requests in two hours");

            happens(&run, Happening::RefusesTheSecret(false)).await;
            sleep(Duration::from_mins(2)).await;
            assert_eq!((arrived(&run, 0), arrived(&run, 1)), (PEOPLE, PEOPLE));
            assert_eq!(run.bot_health().outage, None);
            assert!(run.trace.whole().contains("BotOutageEnded"));
            quiet(&run).await;
            ends::check(&run);
            assert_eq!(violation(&run), None);
            let refused = run.book(|book| book.requests.iter().any(|it| it.fate == Fate::Refused));
            assert!(!refused);
        });
    }
}
