//! The people behind the channel: who they are, and what they do while the bot writes to them.

use std::sync::Arc;
use std::time::Duration;

use botframework::auth::Authenticator;
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::turn::Adapter;
use lambda_http::Body;
use lambda_http::http::Request;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::channel::{Kind, REFUSALS, REGIONS};
use super::fate::Chance;
use super::lambda::Environment;
use super::run::Run;
use super::store::Tables;
use super::wire::{Elsewhere, service_url};

/// The bot, as the channel names it.
pub(super) const BOT: &str = "28:bot";

/// How long the messaging endpoint may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Something that happens among the people, or to all of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// Somebody is heard of for the first time.
    Appears(usize),
    /// The bot is uninstalled, or taken out.
    Leaves(usize),
    /// It is installed again.
    Returns(usize),
    /// The channel refuses the conversation from now on, and nobody is told.
    Refuses(usize, &'static str),
    /// Somebody writes to the bot, which also ends every block.
    Speaks(usize),
    /// Somebody reacts to a message.
    Reacts(usize),
    /// Another region serves them from now on, and nobody is told.
    Moves(usize, usize),
    /// Their conversation has another name from now on, and nobody is told.
    Renames(usize),
    /// An administrator turns the bot off, or on again.
    Disables(usize, bool),
    /// The channel does not take the bot's token, or takes it again.
    RefusesTheBot(bool),
    /// The channel cannot read its own ids, or can again.
    FailsToDecrypt(bool),
}

/// Who there is: tenants and places, as a seed draws them. Those who are strangers at the beginning come last.
pub(super) fn populate(run: &Run, chance: &Chance, places: usize) {
    let tenants = chance.between(1, 4);
    run.channel.with(|channel| {
        for _ in 0..tenants {
            channel.found(chance.below(8) == 0, chance.below(3) > 0);
        }
        while channel.places.len() < places {
            let tenant = chance.index(channel.tenants.len());
            let region = chance.index(REGIONS);
            match chance.below(10) {
                0..7 => channel.settle(Kind::Person, tenant, region),
                7 => channel.settle(Kind::Group, tenant, region),
                8 => channel.settle(Kind::Channel, tenant, region),
                _ => {
                    channel.settle(Kind::Channel, tenant, region);
                    channel.settle(Kind::Thread, tenant, region)
                }
            };
        }
    });
}

/// What the people do within this time, as a seed draws it, in the order in which it happens.
pub(super) fn happenings(
    run: &Run,
    chance: &Chance,
    strangers: &[usize],
    within: Duration,
) -> Vec<(Duration, Happening)> {
    let places = run.channel.with(|channel| channel.places.len());
    let tenants = run.channel.with(|channel| channel.tenants.len());
    let person = |place: usize| {
        run.channel
            .with(|channel| channel.places[place].kind == Kind::Person)
    };
    let mut all = Vec::new();
    for stranger in strangers {
        all.push((chance.wait(Duration::ZERO, within), Happening::Appears(*stranger)));
    }
    // In some worlds nobody does anything, in some everybody does.
    let busy = [0, 1, 4, 12][chance.index(4)];
    for _ in 0..busy * places / 8 {
        let place = chance.index(places);
        let (moment, then) = (
            chance.wait(Duration::ZERO, within),
            chance.wait(Duration::ZERO, within),
        );
        match chance.below(8) {
            0 | 1 => all.extend([
                (moment, Happening::Leaves(place)),
                (moment + then, Happening::Returns(place)),
            ]),
            2 => all.push((moment, Happening::Leaves(place))),
            3 => {
                let refusal = REFUSALS[chance.index(REFUSALS.len())];
                all.extend([
                    (moment, Happening::Refuses(place, refusal)),
                    (moment + then, Happening::Speaks(place)),
                ]);
            }
            4 => all.push((
                moment,
                Happening::Refuses(place, REFUSALS[chance.index(REFUSALS.len())]),
            )),
            5 => all.push((moment, Happening::Moves(place, chance.index(REGIONS)))),
            6 if person(place) => all.push((moment, Happening::Renames(place))),
            _ => all.push((moment, Happening::Reacts(place))),
        }
    }
    let spell = |chance: &Chance| {
        let begins = chance.wait(Duration::ZERO, within);
        (begins, begins + chance.wait(Duration::from_secs(5), within))
    };
    if chance.below(6) == 0 {
        let (tenant, (begins, ends)) = (chance.index(tenants), spell(chance));
        all.extend([
            (begins, Happening::Disables(tenant, true)),
            (ends, Happening::Disables(tenant, false)),
        ]);
    }
    if chance.below(8) == 0 {
        let (begins, ends) = spell(chance);
        all.extend([
            (begins, Happening::RefusesTheBot(true)),
            (ends, Happening::RefusesTheBot(false)),
        ]);
    }
    if chance.below(12) == 0 {
        let (begins, ends) = spell(chance);
        all.extend([
            (begins, Happening::FailsToDecrypt(true)),
            (ends, Happening::FailsToDecrypt(false)),
        ]);
    }
    all.retain(|(moment, _)| *moment < within * 2);
    all.sort_by_key(|(moment, _)| *moment);
    all
}

/// Lets something happen, and waits until the bot was told, if anybody tells it.
pub(super) async fn happens(run: &Arc<Run>, happening: Happening) {
    run.tell(&"people", format_args!("{happening:?}"));
    match happening {
        Happening::Appears(place) => {
            hears(
                run,
                place,
                &json!({"type": "installationUpdate", "action": "add"}),
            )
            .await;
        }
        Happening::Leaves(place) => {
            // After an uninstallation the channel may refuse, or may not.
            let refusal = [Some("BotNotInConversationRoster"), None][run.chance.index(2)];
            run.channel
                .with(|channel| channel.places[place].refusal = refusal);
            hears(
                run,
                place,
                &json!({"type": "installationUpdate", "action": "remove"}),
            )
            .await;
        }
        Happening::Returns(place) => {
            run.channel.with(|channel| channel.places[place].refusal = None);
            hears(
                run,
                place,
                &json!({"type": "installationUpdate", "action": "add"}),
            )
            .await;
        }
        Happening::Refuses(place, code) => run
            .channel
            .with(|channel| channel.places[place].refusal = Some(code)),
        Happening::Speaks(place) => {
            run.channel.with(|channel| channel.places[place].refusal = None);
            hears(run, place, &json!({"type": "message", "text": "hello"})).await;
        }
        Happening::Reacts(place) => hears(run, place, &json!({"type": "messageReaction"})).await,
        Happening::Moves(place, region) => run.channel.with(|channel| channel.places[place].region = region),
        Happening::Renames(place) => run.channel.with(|channel| channel.rename(place)),
        Happening::Disables(tenant, disabled) => {
            run.channel
                .with(|channel| channel.tenants[tenant].disabled = disabled);
        }
        Happening::RefusesTheBot(refuses) => run.channel.with(|channel| channel.refuses_the_bot = refuses),
        Happening::FailsToDecrypt(fails) => run.channel.with(|channel| channel.undecryptable = fails),
    }
}

/// The bot is told of something that happened in a place; again and again, until it says that it heard.
async fn hears(run: &Arc<Run>, place: usize, what: &Value) {
    let mut activity = run.channel.with(|channel| {
        let place = &channel.places[place];
        let tenant = &channel.tenants[place.tenant];
        let kind = match place.kind {
            Kind::Person => "personal",
            Kind::Group => "groupChat",
            Kind::Channel | Kind::Thread => "channel",
        };
        json!({
            "id": "1",
            "channelId": "msteams",
            "serviceUrl": service_url(place.region),
            "from": {"id": place.account, "aadObjectId": place.user},
            "recipient": {"id": BOT},
            "conversation": {"id": place.conversation, "conversationType": kind, "tenantId": tenant.id},
            "channelData": {"tenant": {"id": tenant.id}},
        })
    });
    activity
        .as_object_mut()
        .unwrap()
        .extend(what.as_object().unwrap().clone());
    let body = activity.to_string();
    for number in 1.. {
        let environment = Environment::start(run, format!("messages {number}"));
        let context = messages::Context {
            store: Tables(Arc::clone(&environment)),
            authenticator: Authenticator::unauthenticated(Cloud::Public),
            adapter: Adapter::new(Connector::unauthenticated(Elsewhere)),
            clock: environment.clock(),
        };
        let request = Request::post("http://127.0.0.1/api/messages")
            .body(Body::Text(body.clone()))
            .unwrap();
        let answer = environment
            .invoke(LIMIT, messages::handle(&context, request))
            .await;
        if answer.is_some_and(|answer| answer.status() == 200) {
            return;
        }
        sleep(run.chance.wait(Duration::from_secs(1), Duration::from_secs(10))).await;
    }
}
