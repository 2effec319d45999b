//! When people are to get what is sent: their zones and quiet hours, local times and waves, and the record of it (invariant 18).

use std::collections::BTreeMap;
use std::time::Duration;

use botframework::id::UserRef;
use herald::conversation::{PersonId, PreferenceChange, Preferences};
use herald::preferences;
use herald::schedule::{QuietChoice, QuietHours, Zone};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::book::{Book, Request};
use super::channel::Kind;
use super::fate::Chance;
use super::run::{Run, at_once};

/// Zones without changes of the clock, and how much later than in UTC it is the same wall time there, in hours.
const ZONES: [(&str, i64); 2] = [("UTC", 0), ("Etc/GMT+1", 1)];

/// The zone in which a wall time comes last, of those above.
pub(super) const LAST: SignedDuration = SignedDuration::from_hours(1);

/// A quarter of an hour, in seconds.
const QUARTER: i64 = 900;

/// What the people of places chose before the run.
#[derive(Debug, Default)]
pub(super) struct Moments(BTreeMap<usize, Habit>);

#[derive(Clone, Copy, Debug)]
struct Habit {
    /// How much later than in UTC a wall time comes.
    later: SignedDuration,
    /// Quiet hours, as they are on the day of the run.
    quiet: Option<(Timestamp, Timestamp)>,
}

/// Some people choose a zone, and some of them quiet hours during the storm; in some seeds none do.
pub(super) fn choose(run: &Run, chance: &Chance, storm: Duration) {
    if chance.below(2) == 0 {
        return;
    }
    let people = run.channel.with(|channel| {
        let people = channel.places.iter().enumerate();
        let people = people.filter(|(_, place)| place.kind == Kind::Person);
        let ids = people.map(|(number, place)| {
            let tenant = channel.tenants[place.tenant].id.clone();
            let user = UserRef::Entra(place.user.as_str().into());
            let account = UserRef::Account(place.account.as_str().into());
            (number, tenant, [user, account])
        });
        ids.collect::<Vec<_>>()
    });
    for (place, tenant, ids) in people {
        let (name, later) = *chance.pick(&ZONES);
        let later = SignedDuration::from_hours(later);
        let begins = run.now() + SignedDuration::try_from(chance.wait(Duration::ZERO, storm)).unwrap();
        let begins = Timestamp::from_second(begins.as_second() / QUARTER * QUARTER).unwrap();
        let ends = begins + SignedDuration::from_secs(QUARTER) * i32::try_from(chance.between(1, 4)).unwrap();
        let quiet = (chance.below(3) == 0).then_some((begins, ends));
        let wall = |moment: Timestamp| (moment - later).to_zoned(jiff::tz::TimeZone::UTC).time();
        let hours = quiet.and_then(|(begins, ends)| QuietHours::between(wall(begins), wall(ends)));
        let chosen = PreferenceChange::Replace(Preferences {
            zone: Zone::named(name),
            quiet_hours: hours.map(QuietChoice::Daily),
            ..Preferences::default()
        });
        for id in ids {
            let person = PersonId {
                channel: "msteams".to_owned(),
                tenant: Some(tenant.clone()),
                id,
            };
            at_once(preferences::change(&run.store, &person, None, &chosen, run.now()));
        }
        run.book(|book| book.moments.0.insert(place, Habit { later, quiet }));
    }
}

/// When a wall time comes in UTC.
pub(super) fn in_utc(at: DateTime) -> Timestamp {
    at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

impl Book {
    /// Checks that the person of this request is due, and has no quiet hours, as far as its worker could know when it claimed the delivery.
    pub(super) fn on_time(&mut self, run: &Run, request: &Request, claimed: Timestamp) {
        let (Some((number, _)), Some(place)) = (request.sends, request.place) else {
            return;
        };
        let habit = self.moments.0.get(&place).copied();
        // The planner takes the fallback for people without a known conversation.
        let is_known = run.channel.with(|channel| {
            let here = &channel.places[place];
            !here.past.strange && !here.past.left && here.renamed == 0
        });
        let wanted = &self.wanted[number];
        let later = habit.filter(|_| is_known).map(|habit| habit.later);
        let due = wanted.local_time.map(|at| in_utc(at) + later.unwrap_or_default());
        let is_quiet = |moment: Timestamp| {
            let quiet = habit.and_then(|habit| habit.quiet);
            quiet.is_some_and(|(begins, ends)| begins <= moment && moment < ends)
        };
        let reads_quiet = is_quiet(claimed - run.slack() - run.off()) && is_quiet(claimed + run.off());
        let fault = if due.is_some_and(|due| due > claimed + run.off()) {
            Some("it is not that time there")
        } else if reads_quiet && !wanted.mandatory {
            Some("it has quiet hours")
        } else if let Some(cancelled) = wanted.cancelled_wave
            && due == Some(cancelled)
            && is_known
            && habit.is_none_or(|habit| habit.quiet.is_none())
        {
            Some("its wave is cancelled")
        } else {
            None
        };
        if let Some(fault) = fault {
            self.violated(
                18,
                format_args!("n{number} is sent to place {place}, but {fault}"),
            );
        }
    }
}
