//! Teams: their channels, who is in them, and what the channel tells of both.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::channel::{Refusal, State};
use super::people::BOT;
use super::run::Run;
use super::wire::decoded;

/// A team.
#[derive(Debug, Default)]
pub(super) struct Team {
    /// Its channels, the General one first.
    pub(super) channels: Vec<usize>,
    /// Who is in it, or was; whoever comes back is there twice.
    pub(super) members: Vec<Member>,
}

/// Somebody in a team.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Who.
    pub(super) place: usize,
    /// Since when.
    pub(super) joined: Timestamp,
    /// Until when.
    pub(super) quit: Option<Timestamp>,
}

impl Member {
    /// Whether they were a member at some moment since then.
    pub(super) fn was_since(&self, begins: Timestamp) -> bool {
        self.quit.is_none_or(|quit| quit >= begins)
    }

    /// Whether they were a member all the time from then to then.
    pub(super) fn was_throughout(&self, begins: Timestamp, ends: Timestamp) -> bool {
        self.joined <= begins && self.quit.is_none_or(|quit| quit >= ends)
    }
}

/// What a worker may ask.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// A page of a roster.
    Members {
        conversation: String,
        /// Where the page before ended.
        token: Option<String>,
    },
    /// The channels of a team.
    Channels { team: String },
}

impl fmt::Display for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members {
                conversation,
                token: None,
            } => write!(formatter, "members of {conversation}"),
            Self::Members {
                conversation,
                token: Some(token),
            } => write!(formatter, "members of {conversation} from {token}"),
            Self::Channels { team } => write!(formatter, "channels of {team}"),
        }
    }
}

impl Question {
    /// A question as its address puts it.
    pub(super) fn read(what: &str, about: &str, query: &str) -> Self {
        let about = about.to_owned();
        if what == "teams" {
            return Self::Channels { team: about };
        }
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("continuationToken="));
        Self::Members {
            conversation: about,
            token: token.map(decoded),
        }
    }
}

/// Where a page of a roster begins, and when that was said.
fn token(text: &str) -> (usize, Timestamp) {
    let (index, said) = text.split_once('@').unwrap();
    let said = Timestamp::from_millisecond(said.parse().unwrap()).unwrap();
    (index.parse().unwrap(), said)
}

impl State {
    /// The team whose General channel, or another one, this is.
    pub(super) fn team(&self, place: usize) -> Option<&Team> {
        self.places[place].team.map(|team| &self.teams[team])
    }

    /// Somebody comes into a team.
    pub(super) fn join(&mut self, team: usize, place: usize, now: Timestamp) {
        let members = &mut self.teams[team].members;
        if !members
            .iter()
            .any(|member| member.place == place && member.quit.is_none())
        {
            members.push(Member {
                place,
                joined: now,
                quit: None,
            });
        }
    }

    /// Somebody goes out of it.
    pub(super) fn quit(&mut self, team: usize, place: usize, now: Timestamp) {
        let mut members = self.teams[team].members.iter_mut();
        if let Some(member) = members.find(|member| member.place == place && member.quit.is_none()) {
            member.quit = Some(now);
        }
    }

    /// Why a question is not answered, if it is not.
    pub(super) fn keeps_silent(&mut self, run: &Run, place: usize, question: &Question) -> Option<Refusal> {
        if run.strikes(run.troubles.channel.missing) {
            self.places[place].past.missed += 1;
            return Some(Refusal::new(404, "ConversationNotFound"));
        }
        if self.team(place)?.channels.first() != Some(&place) {
            return Some(Refusal::new(404, "TeamNotFound"));
        }
        let Question::Members {
            token: Some(text), ..
        } = question
        else {
            return None;
        };
        let kept = run.troubles.channel.roster_kept?;
        let kept = SignedDuration::try_from(kept).unwrap();
        if token(text).1 + kept >= run.now() {
            return None;
        }
        self.places[place].past.too_late += 1;
        run.tell(&"channel", format_args!("a roster is not read on from {text}"));
        Some(Refusal {
            message: "the continuation token has expired",
            ..Refusal::new(400, "BadArgument")
        })
    }

    /// The answer to a question about a team.
    pub(super) fn tells(&self, run: &Run, place: usize, question: &Question) -> Value {
        let Some(team) = self.team(place) else {
            return json!({});
        };
        match question {
            Question::Channels { .. } => {
                let channels = team
                    .channels
                    .iter()
                    .map(|channel| json!({"id": self.places[*channel].conversation}));
                json!({ "conversations": channels.collect::<Vec<_>>() })
            }
            Question::Members { token: text, .. } => {
                let start = text.as_deref().map_or(0, |text| token(text).0);
                self.roster(run, place, team, start)
            }
        }
    }

    /// A page of a roster, which begins at the member with this number. Pages repeat people now and then, and people come
    /// and go between two of them.
    fn roster(&self, run: &Run, place: usize, team: &Team, start: usize) -> Value {
        let present = |index: &usize| team.members[*index].quit.is_none();
        let mut page: Vec<usize> = (start..team.members.len()).filter(present).collect();
        let next = page.get(run.page).copied();
        page.truncate(run.page);
        let earlier: Vec<usize> = (0..team.members.len()).filter(present).collect();
        if !earlier.is_empty() && run.strikes(run.troubles.channel.repeating) {
            page.push(*run.chance.pick(&earlier));
        }
        let tenant = self.places[place].tenant;
        let listed = page.into_iter().map(|index| {
            let person = &self.places[team.members[index].place];
            let role = if person.tenant == tenant { "user" } else { "guest" };
            let mut listed = json!({
                "id": person.account,
                "userRole": role,
                "tenantId": self.tenants[person.tenant].id,
            });
            // Some rosters name it so, some so, and some not at all.
            match index % 5 {
                0 => {}
                1 | 2 => listed["aadObjectId"] = json!(person.user),
                _ => listed["objectId"] = json!(person.user),
            }
            listed
        });
        let bot = (start == 0).then(|| json!({"id": BOT, "userRole": "user"}));
        let members: Vec<Value> = bot.into_iter().chain(listed).collect();
        let next = next.map(|index| format!("{index}@{}", run.now().as_millisecond()));
        json!({"members": members, "continuationToken": next})
    }
}
