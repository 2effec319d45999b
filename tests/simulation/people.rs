//! The people behind the channel, and their actions during a run.

use std::sync::Arc;
use std::time::Duration;

use herald::conversation::{Choice, ConversationKey};
use herald::store::Conversations;
use herald_local::teams::{Account, Team};
use serde_json::json;

use super::channel::{Kind, Place, REFUSALS, REGIONS, State};
use super::choices::{CATEGORIES, chooses};
use super::directory::{delete_group, draw_directories};
use super::fate::Chance;
use super::hearing::{hears, hears_of_installation, hears_of_removal};
use super::run::{Run, at_once};
use super::teams::join;

/// The tags that callers put on conversations.
pub(super) const TAGS: [&str; 2] = ["beta", "board"];

/// The bot's id on the channel.
pub(super) const BOT: &str = "28:bot";

/// An action of one person, or an event for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// The bot receives the first activity of a place.
    Appears(usize),
    /// The bot is installed for a person, without an activity.
    IsInstalled(usize),
    /// The bot receives the activity about an installation.
    IsTold(usize),
    /// A person joins a team.
    Joins(usize, usize),
    /// A person leaves a team.
    Quits(usize, usize),
    /// The first group of a tenant is deleted.
    DeletesGroup(usize),
    /// The bot is uninstalled or removed.
    Leaves(usize),
    /// The bot is installed again.
    Returns(usize),
    /// A place opts out of a category, or of everything, or in again.
    Chooses(usize, Option<&'static str>, Choice),
    /// The channel refuses the conversation from now on, without an activity.
    Refuses(usize, &'static str),
    /// A person writes to the bot, which also ends every block.
    Speaks(usize),
    /// A person reacts to a message.
    Reacts(usize),
    /// Another region serves the person from now on, without an activity.
    Moves(usize, usize),
    /// Their conversation gets another id, without an activity.
    Renames(usize),
    /// An administrator turns the bot off, or on again.
    Disables(usize, bool),
    /// The channel starts or stops rejecting the bot's token.
    RefusesTheBot(bool),
    /// A tenant starts or stops refusing the bot's token.
    RefusesTheToken(usize, bool),
    /// The token endpoint starts or stops refusing the bot's secret.
    RefusesTheSecret(bool),
    /// The channel starts or stops failing to decrypt its own ids.
    FailsToDecrypt(bool),
}

/// Draws tenants, places and teams from the seed.
pub(super) fn populate(run: &Run, chance: &Chance, places: usize) {
    let tenants = chance.between(1, 4);
    run.channel.with(|channel| {
        for _ in 0..tenants {
            found(channel, chance.below(8) == 0, chance.below(3) > 0);
        }
        for tenant in &mut channel.tenants {
            tenant.lacks_consent = chance.below(8) == 0;
            tenant.lacks_app = chance.below(8) == 0;
        }
        while channel.places.len() < places {
            let tenant = chance.index(channel.tenants.len());
            let region = chance.index(REGIONS);
            match chance.below(10) {
                0..7 => _ = settle(channel, Kind::Person, tenant, region),
                7 => _ = settle(channel, Kind::Group, tenant, region),
                _ => {
                    channel.teams.push(Team::default());
                    for _ in 0..chance.between(1, 3) {
                        settle(channel, Kind::Channel, tenant, region);
                    }
                    if chance.below(2) == 0 {
                        settle(channel, Kind::Thread, tenant, region);
                    }
                }
            }
        }
        let people: Vec<usize> = (0..channel.places.len())
            .filter(|place| channel.places[*place].kind == Kind::Person)
            .collect();
        for team in 0..channel.teams.len() {
            for person in &people {
                let tenant = channel.places[channel.teams[team].channels[0]].tenant;
                // Few members are guests.
                let odds = if channel.places[*person].tenant == tenant {
                    2
                } else {
                    12
                };
                if chance.below(odds) == 0 {
                    join(channel, team, *person, run.now());
                }
            }
        }
        draw_directories(channel, chance);
    });
}

/// Adds a tenant.
pub(super) fn found(channel: &mut State, is_gcc: bool, is_global: bool) {
    let id = format!("tenant{}", channel.tenants.len());
    let index = channel.tenant(&id);
    let tenant = &mut channel.tenants[index];
    (tenant.is_gcc, tenant.is_global) = (is_gcc, is_global);
}

/// Adds a place.
pub(super) fn settle(channel: &mut State, kind: Kind, tenant: usize, region: usize) -> usize {
    let number = channel.places.len();
    let conversation = match kind {
        Kind::Person => format!("a:{number}"),
        Kind::Group => format!("19:group{number}@thread.v2"),
        Kind::Channel => format!("19:channel{number}@thread.tacv2"),
        Kind::Thread => format!("{};messageid={number}", channel.places[number - 1].conversation),
    };
    let team = match kind {
        Kind::Person | Kind::Group => None,
        Kind::Channel => channel.teams.len().checked_sub(1),
        Kind::Thread => channel.places[number - 1].team,
    };
    if let (Kind::Channel, Some(team)) = (kind, team) {
        channel.teams[team].channels.push(number);
    }
    let account = Account {
        id: format!("29:person{number}"),
        user: format!("00000000-0000-4000-8000-{number:012}"),
        name: String::new(),
    };
    let mut place = Place::new(kind, tenant, conversation, account);
    (place.region, place.team) = (region, team);
    channel.add(place)
}

/// The places that the bot hears from before the run. It has no activity from the others, though it may be installed there.
pub(super) fn known(run: &Run, chance: &Chance) -> Vec<usize> {
    run.channel.with(|channel| {
        // In some worlds every second person is unknown to the bot.
        let odds = *chance.pick(&[8, 8, 4, 2]);
        let mut known = Vec::new();
        for (number, place) in channel.places.iter_mut().enumerate() {
            place.past.strange = chance.below(odds) == 0;
            if place.past.strange {
                place.installed = chance.below(2) == 0;
                place.past.not_installed = !place.installed;
                place.forbidden = chance.below(12) == 0;
            } else {
                known.push(number);
            }
        }
        known
    })
}

/// Callers tag some of the known conversations.
pub(super) fn tag(run: &Run, chance: &Chance) {
    run.channel.with(|channel| {
        for place in channel.places.iter_mut().filter(|place| !place.past.strange) {
            for tag in TAGS {
                if chance.below(6) == 0 {
                    let key = ConversationKey {
                        conversation: place.conversation.clone().into(),
                        channel: "msteams".to_owned(),
                        bot: BOT.into(),
                    };
                    let tags = [tag.to_owned()];
                    if at_once(run.store.tag(&key, &tags, &[], run.now())).is_some() {
                        place.tags.extend(tags);
                    }
                }
            }
        }
    });
}

/// The actions of people within this time, drawn from the seed, in order.
pub(super) fn happenings(run: &Run, chance: &Chance, within: Duration) -> Vec<(Duration, Happening)> {
    let places = run.channel.with(|channel| channel.places.len());
    let tenants = run.channel.with(|channel| channel.tenants.len());
    let person = |place: usize| {
        run.channel
            .with(|channel| channel.places[place].kind == Kind::Person)
    };
    let mut all = Vec::new();
    let (strange, teams) = run.channel.with(|channel| {
        let strange = |place: &usize| channel.places[*place].past.strange;
        let strange: Vec<usize> = (0..places).filter(strange).collect();
        (strange, channel.teams.len())
    });
    for place in strange {
        let moment = chance.wait(Duration::ZERO, within);
        match chance.below(4) {
            0 | 1 => all.push((moment, Happening::Appears(place))),
            2 => all.push((moment, Happening::IsInstalled(place))),
            _ => {}
        }
    }
    if teams > 0 {
        for _ in 0..[0, 0, 2, 8][chance.index(4)] * teams {
            let (team, place) = (chance.index(teams), chance.index(places));
            if person(place) {
                let moment = chance.wait(Duration::ZERO, within);
                let comes = Happening::Joins(team, place);
                let goes = Happening::Quits(team, place);
                all.push((moment, *chance.pick(&[comes, goes])));
            }
        }
    }
    // In some worlds people do nothing, in some they are very active.
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
    if chance.below(6) == 0 {
        let group = Happening::DeletesGroup(chance.index(tenants));
        all.push((chance.wait(Duration::ZERO, within), group));
    }
    if chance.below(6) == 0 {
        let (tenant, (begins, ends)) = (chance.index(tenants), spell(chance, within));
        all.extend([
            (begins, Happening::Disables(tenant, true)),
            (ends, Happening::Disables(tenant, false)),
        ]);
    }
    if chance.below(8) == 0 {
        let (begins, ends) = spell(chance, within);
        all.extend([
            (begins, Happening::RefusesTheBot(true)),
            (ends, Happening::RefusesTheBot(false)),
        ]);
    }
    if chance.below(12) == 0 {
        let (begins, ends) = spell(chance, within);
        all.extend([
            (begins, Happening::FailsToDecrypt(true)),
            (ends, Happening::FailsToDecrypt(false)),
        ]);
    }
    all.extend(choices(chance, places, within));
    all.retain(|(moment, _)| *moment < within * 2);
    all.extend(token_incidents(chance, tenants, within));
    all.sort_by_key(|(moment, _)| *moment);
    all
}

/// Opt-out choices of people, group chats and channels; some seeds have none.
fn choices(chance: &Chance, places: usize, within: Duration) -> Vec<(Duration, Happening)> {
    let busy = [0, 1, 4, 12][chance.index(4)];
    let choice = |_| {
        let category = *chance.pick(&[None, Some(CATEGORIES[0]), Some(CATEGORIES[1])]);
        let choice = *chance.pick(&[Choice::OptedOut, Choice::OptedOut, Choice::OptedIn]);
        let chooses = Happening::Chooses(chance.index(places), category, choice);
        (chance.wait(Duration::ZERO, within), chooses)
    };
    (0..busy * places / 8).map(choice).collect()
}

/// When an incident begins and ends.
fn spell(chance: &Chance, within: Duration) -> (Duration, Duration) {
    let begins = chance.wait(Duration::ZERO, within);
    (begins, begins + chance.wait(Duration::from_secs(5), within))
}

/// Refusals of the bot's token and of its secret.
fn token_incidents(chance: &Chance, tenants: usize, within: Duration) -> Vec<(Duration, Happening)> {
    let mut all = Vec::new();
    if chance.below(8) == 0 {
        let (tenant, (begins, ends)) = (chance.index(tenants), spell(chance, within));
        // Every other tenant refuses for so long that it is given up, if another one accepts.
        let ends = if chance.below(2) == 0 {
            ends
        } else {
            begins + Duration::from_mins(45)
        };
        all.extend([
            (begins, Happening::RefusesTheToken(tenant, true)),
            (ends, Happening::RefusesTheToken(tenant, false)),
        ]);
    }
    if chance.below(8) == 0 {
        let (begins, ends) = spell(chance, within);
        all.extend([
            (begins, Happening::RefusesTheSecret(true)),
            (ends, Happening::RefusesTheSecret(false)),
        ]);
    }
    all
}

/// Applies an action, and waits until the bot has received its activity, if there is one.
pub(super) async fn happens(run: &Arc<Run>, happening: Happening) {
    run.tell(&"people", format_args!("{happening:?}"));
    match happening {
        Happening::Appears(place) => {
            run.channel.with(|channel| channel.places[place].installed = true);
            hears_of_installation(run, place).await;
        }
        Happening::Leaves(place) => {
            // After an uninstallation the channel may refuse messages, or may not.
            let refusal = [Some("BotNotInConversationRoster"), None][run.chance.index(2)];
            run.channel.with(|channel| channel.uninstall(place, refusal));
            hears_of_removal(run, place).await;
        }
        Happening::Returns(place) => {
            run.channel.with(|channel| channel.install(place));
            hears_of_installation(run, place).await;
        }
        Happening::IsInstalled(place) => {
            run.channel.with(|channel| channel.places[place].installed = true);
        }
        // An installation that was undone since is not reported.
        Happening::IsTold(place) if run.channel.with(|channel| !channel.places[place].installed) => {}
        Happening::IsTold(place) => hears_of_installation(run, place).await,
        Happening::Joins(team, place) => run.channel.with(|channel| join(channel, team, place, run.now())),
        Happening::DeletesGroup(tenant) => run.channel.with(|channel| delete_group(channel, tenant)),
        Happening::Quits(team, place) => run.channel.with(|channel| channel.quit(team, place, run.now())),
        Happening::Refuses(place, code) => run.channel.with(|channel| channel.refuse(place, code)),
        // A person without the bot cannot write to it.
        Happening::Speaks(place) | Happening::Reacts(place)
            if run.channel.with(|channel| {
                let place = &channel.places[place];
                !place.installed && !place.past.left
            }) => {}
        Happening::Speaks(place) => {
            run.channel.with(|channel| channel.places[place].refusal = None);
            hears(run, place, &json!({"type": "message", "text": "hello"})).await;
        }
        Happening::Chooses(place, category, choice) => chooses(run, place, category, choice).await,
        Happening::Reacts(place) => hears(run, place, &json!({"type": "messageReaction"})).await,
        Happening::Moves(place, region) => run.channel.with(|channel| channel.relocate(place, region)),
        Happening::Renames(place) => run.channel.with(|channel| channel.rename(place)),
        Happening::Disables(tenant, disabled) => {
            run.channel.with(|channel| channel.disable(tenant, disabled));
        }
        Happening::RefusesTheBot(refuses) => run.channel.with(|channel| channel.refuses_the_bot = refuses),
        Happening::RefusesTheToken(tenant, refuses) => run
            .channel
            .with(|channel| channel.refuse_token(tenant, refuses, run.now())),
        Happening::RefusesTheSecret(refuses) => run.tokens.refuse(refuses),
        Happening::FailsToDecrypt(fails) => run.channel.with(|channel| {
            channel.undecryptable = fails;
            channel.was_undecryptable |= fails;
        }),
    }
}
