//! Mutation check: breaks the engine on purpose, one fault at a time, and runs the simulation against each fault.
//!
//! ```text
//! cargo run -p tests --example mutations                      all of them: about ten minutes on two cores
//! SEEDS=3000 cargo run -p tests --example mutations cancel    those whose name contains `cancel`, with more seeds
//! ```
//!
//! A test suite is only worth what it catches. Each mutation below is a plausible mistake: an exact text in one file, and
//! its replacement. The tracked files of the workspace are copied to `target/mutations/tree`, the text is replaced there,
//! and the simulation runs on the result, in its own target directory. The table prints the violated invariant and the
//! seed; the numbers are those of `tests/simulation/main.rs`. A mutation that no test catches is printed as `NOT CAUGHT`,
//! and the command fails. It also fails when a text does not occur exactly once, because the engine has changed without
//! its mutations.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io};

/// The number of seeds that a mutation must survive to be reported as not caught.
const SEEDS: &str = "1500";

/// The tests that check the simulation itself; the others check the engine.
const OWN: &[&str] = &["--skip", "a_seed_replays", "--skip", "every_kind_of_fault"];

/// A deliberate fault.
struct Mutation {
    /// The fault, in plain words.
    name: &'static str,
    /// The file to change.
    file: &'static str,
    /// The text to replace, which occurs exactly once.
    from: &'static str,
    /// The replacement.
    to: &'static str,
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a page has the rows of its recipients in another order",
        file: "shared/herald/src/notification.rs",
        from: "of_conversations.append(&mut of_others);",
        to: "of_conversations.append(&mut of_others);\n        of_conversations.reverse();",
    },
    Mutation {
        name: "a chunk that goes back keeps the rows of all its recipients",
        file: "functions/sender/src/chunk.rs",
        from: "let mut fields = std::mem::take(&mut chunk.fields).into_iter();",
        to: "let mut fields = chunk.fields.clone().into_iter();",
    },
    Mutation {
        name: "a wave is sent when it is planned",
        file: "functions/planner/src/waves.rs",
        from: "                        waiting.insert(due);\n                        return false;",
        to: "",
    },
    Mutation {
        name: "a wave that waits has no message",
        file: "functions/planner/src/waves.rs",
        from: "            if !messages.is_empty() {",
        to: "            if false {",
    },
    Mutation {
        name: "a wave begins when its message is early",
        file: "functions/planner/src/waves.rs",
        from: "if is_early && self.state_of(due).await?",
        to: "if false && self.state_of(due).await?",
    },
    Mutation {
        name: "a cancelled wave is sent",
        file: "functions/planner/src/waves.rs",
        from: "Some(WaveState::Cancelled) => chunk.cancelled = true,",
        to: "Some(WaveState::Cancelled) => {}",
    },
    Mutation {
        name: "a local time is the fallback's for everyone",
        file: "shared/herald/src/timing.rs",
        from: "let zone = chosen.or(of.zone).or_else(tenant).or_else(fallback);",
        to: "let zone = fallback().or(chosen).or(of.zone).or_else(tenant).filter(|_| false);",
    },
    Mutation {
        name: "quiet hours are ignored",
        file: "shared/herald/src/timing.rs",
        from: "    if notification.mandatory {\n        return None;",
        to: "    if notification.mandatory || true {\n        return None;",
    },
    Mutation {
        name: "an occurrence that is tried again is another notification",
        file: "functions/events/src/scheduled.rs",
        from: "idempotency_key: Some(&key),",
        to: "idempotency_key: Some(&key[..0]).filter(|_| false),",
    },
    Mutation {
        name: "an occurrence whose acceptance failed is not tried again",
        file: "functions/events/src/scheduled.rs",
        from: "if arrival == Arrival::Early || !record",
        to: "if arrival != Arrival::Came || !record",
    },
    Mutation {
        name: "a skipped occurrence is sent",
        file: "shared/herald/src/recurring.rs",
        from: "let state = if self.skipped.contains(&due) {",
        to: "let state = if false && self.skipped.contains(&due) {",
    },
    Mutation {
        name: "a paused schedule sends what was due",
        file: "shared/herald/src/recurring.rs",
        from: "        self.due = None;\n        self.paused_at",
        to: "        self.paused_at",
    },
    Mutation {
        name: "no message waits for a scheduled retraction",
        file: "functions/planner/src/lib.rs",
        from: "Box::pin(retraction::enqueue(context, &notification)).await?;",
        to: "",
    },
    Mutation {
        name: "a scheduled retraction does not wait on when its message is early",
        file: "functions/planner/src/retraction.rs",
        from: "if retraction.at > context.clock.now() {",
        to: "if false {",
    },
    Mutation {
        name: "a scheduled replacement is made again over a later edit",
        file: "shared/herald/src/notification/retraction.rs",
        from: "retraction.revision.is_none() && !self.retracted",
        to: "(retraction.revision.is_none() || true) && !self.retracted",
    },
    Mutation {
        name: "a scheduled retraction deletes copies that were to be replaced",
        file: "shared/herald/src/notification/retraction.rs",
        from: "Some(message) if !self.is_held()",
        to: "Some(message) if false && !self.is_held()",
    },
    Mutation {
        name: "a scheduled retraction does not reach the copies",
        file: "shared/herald/src/acceptance/revise.rs",
        from: "Ok(self.sweep(&notification).await?)",
        to: "drop(notification); Ok(())",
    },
    Mutation {
        name: "a message of a newer release is read as one of this release",
        file: "shared/herald/src/queue.rs",
        from: "message.format > FORMAT",
        to: "message.format > FORMAT + 1",
    },
    Mutation {
        name: "an event that comes again is another notification of its route",
        file: "functions/events/src/routed.rs",
        from: "idempotency_key: Some(&key),",
        to: "idempotency_key: None,",
    },
    Mutation {
        name: "a late event overwrites what its subject shows",
        file: "shared/herald/src/route/subject.rs",
        from: "&& (shown.event == event.event || shown.at > at)",
        to: "&& shown.event == event.event",
    },
    Mutation {
        name: "a subject forgets which event its copy is sent for",
        file: "shared/herald/src/route/subject.rs",
        from: "Some(stored) => (stored.origin, stored.shown),",
        to: "Some(stored) => (event.clone(), stored.shown),",
    },
    Mutation {
        name: "two messages of a subject write at once",
        file: "shared/herald/src/route/subject.rs",
        from: "until > now) => {",
        to: "until > now && false) => {",
    },
    Mutation {
        name: "an older notification edits the copy of a newer one of its subject",
        file: "shared/herald/src/subject.rs",
        from: "if copy.notification > *notification {",
        to: "if false && copy.notification > *notification {",
    },
    Mutation {
        name: "a later notification of a subject is sent beside the copy",
        file: "shared/herald/src/subject.rs",
        from: "Some(activity) if sent.is_none()",
        to: "Some(activity) if false && sent.is_none()",
    },
    Mutation {
        name: "a copy is edited without being taken over",
        file: "functions/sender/src/delivery/subject.rs",
        from: "filter(|_| is_first_edit)",
        to: "filter(|_| false && is_first_edit)",
    },
    Mutation {
        name: "a message that was sent is not recorded as the copy of its subject",
        file: "functions/sender/src/delivery/subject.rs",
        from: "let sent = self.record(sent, head).await?;",
        to: "let sent = sent.clone();",
    },
    Mutation {
        name: "a copy that was not edited is not given back",
        file: "functions/sender/src/delivery/subject.rs",
        from: "(None, Some(_), next) if was_not_edited(next)",
        to: "(None, Some(_), next) if false && was_not_edited(next)",
    },
    Mutation {
        name: "a copy that may have been edited is given back",
        file: "functions/sender/src/delivery/subject.rs",
        from: "} => *ambiguous_attempts == 0,",
        to: "} => *ambiguous_attempts < u32::MAX,",
    },
    Mutation {
        name: "a refused event is deleted",
        file: "functions/events/src/lib.rs",
        from: "context.record_failure(&event, &message, problem).await;\n            Handled::Failed",
        to: "context.record_failure(&event, &message, problem).await;\n            Handled::Done",
    },
    Mutation {
        name: "a schedule whose message is lost stands still",
        file: "functions/events/src/scheduled.rs",
        from: "due.filter(|due| due.is_lost(now))",
        to: "due.filter(|due| false && due.is_lost(now))",
    },
    Mutation {
        name: "a schedule stands still when the next time is quicker than the record",
        file: "shared/herald/src/occurrence.rs",
        from: "due == self.at || following(due, recurrence, now) == Some(self.at)",
        to: "due == self.at",
    },
    Mutation {
        name: "a copy of an activity is answered again",
        file: "functions/messages/src/turns.rs",
        from: "TurnClaim::Done => return Ok(Claim::Repeated),",
        to: "TurnClaim::Done => {}",
    },
    Mutation {
        name: "a lease is acquired whichever delivery holds it",
        file: "shared/herald/src/delivery/claim.rs",
        from: "if !lease.is_finished(row) {",
        to: "if false && !lease.is_finished(row) {",
    },
    Mutation {
        name: "a lease is acquired while another delivery holds it",
        file: "shared/herald/src/delivery/claim.rs",
        from: "if !lease.is_finished(row) {",
        to: "if own && !lease.is_finished(row) {",
    },
    Mutation {
        name: "a message is updated without the conversation lease",
        file: "shared/herald/src/delivery/claim.rs",
        from: "if !lease.is_finished(row) {",
        to: "if sent.is_none() && !lease.is_finished(row) {",
    },
    Mutation {
        name: "an expired lease is taken over without recording the crash",
        file: "shared/herald/src/delivery/claim.rs",
        from: "if !lease.is_finished(row) {",
        to: "if !lease.is_finished(row) && (own || lease.until > now) {",
    },
    Mutation {
        name: "an expired lease does not count as an ambiguous attempt",
        file: "shared/herald/src/delivery/claim.rs",
        from: "ambiguous_attempts: lease.ambiguous_attempts + 1,",
        to: "ambiguous_attempts: lease.ambiguous_attempts,",
    },
    Mutation {
        name: "atMostOnce is treated as atLeastOnce",
        file: "shared/herald/src/delivery/claim.rs",
        from: "Guarantee::AtMostOnce => ambiguous_attempts == 0,",
        to: "Guarantee::AtMostOnce => ambiguous_attempts < max,",
    },
    Mutation {
        name: "a delivery with an ambiguous attempt is settled as rejected",
        file: "shared/herald/src/delivery/claim.rs",
        from: "                if self.ambiguous_attempts == 0 {\n                    outcome",
        to: "                if true {\n                    outcome",
    },
    Mutation {
        name: "a late worker overwrites a settled outcome",
        file: "shared/herald/src/delivery/claim.rs",
        from: "(Some(State::Settled(_)), Purpose::Update) => earlier,\n        (Some(State::Settled(_)), Purpose::Send) | (Some(State::Waiting { .. }), Purpose::Update) => false,",
        to: "(Some(State::Settled(_)), _) | (Some(State::Waiting { .. }), Purpose::Update) => true,",
    },
    Mutation {
        name: "a timeout is treated as not executed",
        file: "shared/herald/src/retry.rs",
        from: "Reason::NoResponse => RETRY_AMBIGUOUS,",
        to: "Reason::NoResponse => Action::Retry,",
    },
    Mutation {
        name: "a delivery is settled before it is sent",
        file: "functions/sender/src/delivery.rs",
        from: "        let next = self\n            .attempt_under(",
        to: "        if self.precheck(&lease, &snapshot, target.conversation).is_ok() {
            let sent = herald::delivery::SentMessage { activity: None, revision: snapshot.head.revision, attempted_revision: snapshot.head.revision, supersedes: None };
            ledger.settle(&delivery, &lease, &Outcome::Delivered(sent)).await?;
        }
        let next = self
            .attempt_under(",
    },
    Mutation {
        name: "a 401 of one tenant pauses the whole bot",
        file: "shared/herald/src/bot_health.rs",
        from: "if self.refusals.iter().any(|refusal| refusal.bucket != *bucket) {",
        to: "if true {",
    },
    Mutation {
        name: "the refusal of the bot by one tenant is never final",
        file: "shared/herald/src/rate_limit/breaker.rs",
        from: "failures.openings >= self.openings",
        to: "failures.openings > self.openings + 1000",
    },
    Mutation {
        name: "an outage of the bot is never over",
        file: "shared/herald/src/bot_health.rs",
        from: "health.outage = None;",
        to: "",
    },
    Mutation {
        name: "a Retry-After of any length is obeyed",
        file: "shared/herald/src/retry.rs",
        from: "Ok(wait) if wait <= MAX_RETRY_AFTER => wait,",
        to: "Ok(wait) => wait,",
    },
    Mutation {
        name: "a message that the channel refuses is sent on",
        file: "functions/sender/src/notification_cache.rs",
        from: "self.head.refusal(self.channel.as_deref()?)",
        to: "self.head.refusal(self.channel.as_deref()?).filter(|_| false)",
    },
    Mutation {
        name: "Retry-After is ignored",
        file: "functions/sender/src/outcome.rs",
        from: "let retry_after = retry_after(error, self.now());",
        to: "let retry_after = retry_after(error, self.now()).and_then(|_| None);",
    },
    Mutation {
        name: "the tenant's rate ignores the length of Retry-After",
        file: "shared/herald/src/rate_limit/tenant.rs",
        from: "retry_after.unwrap_or(DEFAULT_RETRY_AFTER)",
        to: "retry_after.map_or(DEFAULT_RETRY_AFTER, |_| DEFAULT_RETRY_AFTER)",
    },
    Mutation {
        name: "half of the permits are granted twice",
        file: "shared/herald/src/rate_limit/reservation.rs",
        from: "next_slot: ceil_millisecond(later(from, span(u64::from(slots), requests))),",
        to: "next_slot: ceil_millisecond(later(from, span(u64::from(slots) / 2, requests))),",
    },
    Mutation {
        name: "the rate limit of a conversation is ignored",
        file: "shared/herald/src/rate_limit/conversation.rs",
        from: "        if free > now {",
        to: "        if false && free > now {",
    },
    Mutation {
        name: "a cancellation is ignored",
        file: "shared/herald/src/notification.rs",
        from: "self.cancelled_at.is_some() || self.retracted",
        to: "self.retracted",
    },
    Mutation {
        name: "a retracted message is not deleted",
        file: "functions/sender/src/request.rs",
        from: "            (None, Some(sent)) => connector\n                .delete_activity(service_url, id, sent)\n                .await\n                .map(|()| SendReceipt::default()),\n",
        to: "            (None, Some(_)) => Ok(SendReceipt::default()),\n",
    },
    Mutation {
        name: "the cached notification never expires",
        file: "functions/sender/src/notification_cache.rs",
        from: "const TTL: SignedDuration = SignedDuration::from_secs(1);",
        to: "const TTL: SignedDuration = SignedDuration::from_secs(1000);",
    },
    Mutation {
        name: "expiresAt is ignored",
        file: "functions/sender/src/notification_cache.rs",
        from: "} else if self.head.expires_at <= now {",
        to: "} else if false {",
    },
    Mutation {
        name: "blocked conversations are written to",
        file: "functions/sender/src/delivery/attempt.rs",
        from: "State::Blocked { .. } => skipped(SkipReason::Blocked),",
        to: "State::Blocked { .. } => Ok(conversation),",
    },
    Mutation {
        name: "removed conversations are written to",
        file: "functions/sender/src/delivery/attempt.rs",
        from: "State::Removed => skipped(SkipReason::Removed),",
        to: "State::Removed => Ok(conversation),",
    },
    Mutation {
        name: "who opted out is sent to",
        file: "functions/sender/src/delivery/attempt.rs",
        from: "State::Active if !snapshot.head.is_wanted(conversation.preferences.as_ref()) => {",
        to: "State::Active if false && !snapshot.head.is_wanted(conversation.preferences.as_ref()) => {",
    },
    Mutation {
        name: "a choice about a category counts less than the one about all",
        file: "shared/herald/src/conversation/preferences.rs",
        from: "*own.unwrap_or(&self.all) == Choice::OptedIn",
        to: "self.all == Choice::OptedIn && own != Some(&Choice::OptedOut)",
    },
    Mutation {
        name: "what is mandatory goes to nobody who opted out",
        file: "shared/herald/src/notification.rs",
        from: "self.mandatory || preferences.is_none_or(",
        to: "preferences.is_none_or(",
    },
    Mutation {
        name: "a conversation is stored without what its person opted out of",
        file: "shared/herald/src/companions.rs",
        from: "    if names_person {\n        Box::pin(",
        to: "    if false && names_person {\n        Box::pin(",
    },
    Mutation {
        name: "a chunk is closed at any revision",
        file: "shared/herald/src/store/memory/notifications.rs",
        from: "if entry.head.revision != revision {",
        to: "if false {",
    },
    Mutation {
        name: "a chunk is counted each time it is closed",
        file: "shared/herald/src/store/memory/notifications.rs",
        from: "if counted.is_some_and(|counted| counted.is_closed_at(revision)) {",
        to: "if counted.is_some_and(|counted| counted.is_closed_at(revision + 1)) {",
    },
    Mutation {
        name: "a sweep after an edit skips closed chunks",
        file: "functions/planner/src/parts.rs",
        from: "chunk.index == index && chunk.is_closed_at(notification.revision)",
        to: "chunk.index == index && chunk.closed_at.is_some()",
    },
    Mutation {
        name: "a page is written after its chunks are enqueued",
        file: "functions/planner/src/parts.rs",
        from: "NextPage::Read(page) => page,",
        to: "NextPage::Read(page) => {
                if !notification.is_held() {
                    context.deliveries.send(chunks(id, part, number, &page, false, |_| true)).await?;
                    enqueued = Some(number);
                }
                page
            }",
    },
    Mutation {
        name: "chunks that a dead planner left are never enqueued",
        file: "functions/planner/src/parts.rs",
        from: "        let mut end = PartEnd::Before;\n",
        to: "        let mut end = PartEnd::Before;\n        enqueued = latest.as_ref().map(|(number, _)| *number).or(enqueued);\n",
    },
    Mutation {
        name: "what is counted of an open chunk is counted again when it closes",
        file: "shared/herald/src/store/memory/notifications.rs",
        from: "head.counts.recount(&before, &result.counts);",
        to: "head.counts.recount(&OutcomeCounts::default(), &result.counts);",
    },
    Mutation {
        name: "a repeated plan leaves a counted notification without a sweep",
        file: "functions/planner/src/parts.rs",
        from: "if (is_first || end == PartEnd::Before)",
        to: "if is_first",
    },
    Mutation {
        name: "a part is marked as planned before its last page",
        file: "shared/herald/src/store/memory/notifications.rs",
        from: "u16::from(page.next.is_none())",
        to: "u16::from(number == 0)",
    },
    Mutation {
        name: "a person repeated by a roster is a recipient on every page",
        file: "functions/planner/src/people.rs",
        from: "Ok(page.without(&repeated.into_iter().collect()))",
        to: "let _ = repeated;\n        Ok(page)",
    },
    Mutation {
        name: "a person on two pages of a group is a recipient on both",
        file: "functions/planner/src/directory.rs",
        from: "Ok(self.recipients.freeze(at, &read).await?)",
        to: "Ok(read)",
    },
    Mutation {
        name: "the people of a group end with its first page",
        file: "functions/planner/src/directory.rs",
        from: "link.map(|link| DirectoryCursor {",
        to: "link.filter(|_| false).map(|link| DirectoryCursor {",
    },
    Mutation {
        name: "a disabled account of a group is a recipient",
        file: "functions/planner/src/directory.rs",
        from: "!user.is_disabled() && (guests",
        to: "(user.is_disabled() || !user.is_disabled()) && (guests",
    },
    Mutation {
        name: "the creation lease is granted to every worker",
        file: "shared/herald/src/conversation/creation_lease.rs",
        from: "if let Some(until) = known.until.filter(|until| *until > now) {",
        to: "if let Some(until) = known.until.filter(|_| false) {",
    },
    Mutation {
        name: "a created conversation is not linked to its person",
        file: "functions/sender/src/resolve/mod.rs",
        from: "let creation = created.as_ref().map_or(Creation::Nothing, Creation::clone);",
        to: "let creation = Creation::Nothing;",
    },
    Mutation {
        name: "an audience's exceptions are ignored",
        file: "shared/herald/src/audience/matcher.rs",
        from: "self.except.contain(conversation) || ids.any(|id| self.except.contain_text(id))",
        to: "ids.any(|_| false)",
    },
    Mutation {
        name: "a union does not remove duplicates",
        file: "shared/herald/src/audience/matcher.rs",
        from: "others.partition(|it| rank(*it) < rank((index, own)));",
        to: "others.partition(|it| false && rank(*it) < rank((index, own)));",
    },
    Mutation {
        name: "a pending installation is repeated",
        file: "functions/sender/src/resolve/mod.rs",
        from: "if installing_since.is_none() {",
        to: "if installing_since.is_none() || installing_since.is_some() {",
    },
    Mutation {
        name: "the roster of a moved team is queried at its old address",
        file: "functions/planner/src/roster_client.rs",
        from: "Action::TryOtherUrl if urls.next_after(&error) => {}",
        to: "Action::TryOtherUrl if urls.next_after(&error) => {
                    return Err(Failure::Later(DEFAULT_RETRY_AFTER));
                }",
    },
    Mutation {
        name: "a conversation is created at one address only",
        file: "functions/sender/src/create_conversation.rs",
        from: "            if !urls.next_after(&error) {",
        to: "            if !urls.next_after(&error) || has_sampled {",
    },
    Mutation {
        name: "the open deliveries of a chunk are not requeued",
        file: "functions/sender/src/lib.rs",
        from: "            return requeue(context, chunk, until).await;\n        }\n        let Chunk {",
        to: "            let _ = until;\n            return Ok(());\n        }\n        let Chunk {",
    },
];

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let workshop = root.join("target/mutations");
    let tree = workshop.join("tree");
    let files = tracked(&root)?;
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| SEEDS.to_owned());

    copy(&root, &tree, &files)?;
    // An engine that fails without a mutation would seem to catch everything.
    let sound = simulate(&workshop, &tree, &seeds)?;
    if let Verdict::Caught { .. } | Verdict::NotBuilt = sound {
        println!("The simulation fails without any mutation: {sound}");
        return Ok(ExitCode::FAILURE);
    }
    println!("{:<62} caught by", "mutation");
    let mut survivors = 0;
    for mutation in MUTATIONS
        .iter()
        .filter(|mutation| mutation.name.contains(&wanted))
    {
        let file = tree.join(mutation.file);
        let text = fs::read_to_string(&file)?;
        let verdict = if text.matches(mutation.from).count() == 1 {
            fs::write(&file, text.replace(mutation.from, mutation.to))?;
            simulate(&workshop, &tree, &seeds)?
        } else {
            Verdict::NotFound
        };
        survivors += u32::from(!matches!(verdict, Verdict::Caught { .. }));
        println!("{:<62} {verdict}", mutation.name);
        fs::write(&file, text)?;
    }
    Ok(if survivors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The result of the simulation with a mutation.
enum Verdict {
    /// This invariant failed at this seed; without a seed, the test of the rate failed.
    Caught { invariant: String, seed: Option<String> },
    /// No test failed.
    NotCaught,
    /// The text does not occur exactly once.
    NotFound,
    /// The mutated program does not compile.
    NotBuilt,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caught {
                invariant,
                seed: Some(seed),
            } => write!(formatter, "{invariant} (SEED={seed})"),
            Self::Caught {
                invariant,
                seed: None,
            } => formatter.write_str(invariant),
            Self::NotCaught => formatter.write_str("NOT CAUGHT"),
            Self::NotFound => formatter.write_str("NOT FOUND: the text is not there exactly once"),
            Self::NotBuilt => formatter.write_str("NOT BUILT"),
        }
    }
}

/// The files that git tracks, in their current state.
fn tracked(root: &Path) -> io::Result<Vec<PathBuf>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()?;
    let names = String::from_utf8_lossy(&listing.stdout).into_owned();
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

/// Synchronizes the tree with the workspace. Equal files are not touched, so that they are not built again; files that are
/// gone are deleted.
fn copy(root: &Path, tree: &Path, files: &[PathBuf]) -> io::Result<()> {
    for name in files {
        let (from, to) = (root.join(name), tree.join(name));
        // Deleted, and not yet committed.
        let Ok(content) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|standing| standing == content) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&to, content)?;
    }
    prune(tree, Path::new(""), root, files)
}

fn prune(tree: &Path, folder: &Path, root: &Path, files: &[PathBuf]) -> io::Result<()> {
    for entry in fs::read_dir(tree.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            prune(tree, &name, root, files)?;
        } else if !files.contains(&name) || !root.join(&name).exists() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Builds the tree and runs its simulation.
fn simulate(workshop: &Path, tree: &Path, seeds: &str) -> io::Result<Verdict> {
    let cargo = |arguments: &[&str]| {
        Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", workshop.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("RUST_BACKTRACE", "0")
            .env("SEEDS", seeds)
            .env_remove("SEED")
            .output()
    };
    let test = ["test", "-p", "tests", "--test", "simulation", "--quiet"];
    let built = cargo(&[&test[..], &["--no-run"]].concat())?;
    if !built.status.success() {
        println!("{}", String::from_utf8_lossy(&built.stderr));
        return Ok(Verdict::NotBuilt);
    }
    let ran = cargo(&[&test[..], &["--"], OWN].concat())?;
    if ran.status.success() {
        return Ok(Verdict::NotCaught);
    }
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let after = |start: &str| told.lines().find_map(|line| line.strip_prefix(start));
    let (invariant, seed) = (after("invariant "), after("SEED="));
    Ok(Verdict::Caught {
        invariant: invariant
            .unwrap_or("the rate at which a backlog is sent")
            .chars()
            .take(100)
            .collect(),
        seed: seed.and_then(|line| line.split(' ').next()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_each_mutation_occurs_exactly_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let is_stale = |mutation: &&Mutation| {
            let text = fs::read_to_string(root.join(mutation.file)).unwrap_or_default();
            text.matches(mutation.from).count() != 1
        };
        let stale: Vec<_> = MUTATIONS
            .iter()
            .filter(is_stale)
            .map(|mutation| mutation.name)
            .collect();
        assert!(stale.is_empty(), "{stale:#?}");
    }
}
