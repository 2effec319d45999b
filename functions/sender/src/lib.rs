//! The sender: takes a chunk of deliveries, claims each, sends it, and settles it.
//!
//! ```text
//! chunk ── recall ── for each: token? ── claim ── send ── settle or release ── all ended? ── close
//!                                                                          └─ some open ── the rest goes back, with a delay
//! ```
//!
//! A chunk comes at least once. Whoever handles it again finds in the ledger what ended, what another worker holds,
//! and what a dead worker left; so nothing is lost, and nothing that ended is sent again.
//!
//! While the bot itself cannot speak, because there is no token for it or its token is not taken, no delivery fails:
//! none is claimed, and the work comes back later, as often as it takes.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::activity::Activity;
use botframework::connector::{self, Class, Connector, HttpTransport, SendReceipt};
use botframework::credential::{self, Fault};
use futures_util::{StreamExt, stream};
use herald::Error;
use herald::audience::Recipient;
use herald::aws;
use herald::clock::{Chance, Clock};
use herald::config::{self, Environment, variable};
use herald::conversation::{Conversation, ConversationKey, Scope, State};
use herald::delivery::{self, Attempt, Claim, DeliveryKey, Lease, Next, Outcome, SkipReason};
use herald::notification::Notification;
use herald::queue::{Chunk, Message, Queue, sqs};
use herald::store::{self, Conversations, Ledger, Notifications, Written, dynamodb};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};

/// Deliveries under way at once in one environment, over all chunks of its batch.
const DELIVERIES_AT_ONCE: usize = 32;

/// How long one request to the channel may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long before the invocation's end no new delivery is begun: a claim, a request, a new token, the
/// request once more and a settling must fit in, each as slow as its time-outs let it be.
const MARGIN: SignedDuration = SignedDuration::from_secs(50);

/// When to ask again for a delivery that another worker holds. It says what became of it long before its deadline,
/// unless it died; asking costs one write.
const ASK_HOLDER_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// How long the work waits when the Connector does not take the bot's token and names no time: somebody has to act.
const REFUSED_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// The longest it waits whatever the Connector says: once the bot is put right, its work goes on.
const REFUSED_WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<C, N, L, Q> {
    /// Where recipients' references are.
    pub conversations: C,
    /// Where messages are.
    pub notifications: N,
    /// The deliveries.
    pub ledger: L,
    /// The queue to this function.
    pub deliveries: Q,
    /// The way to the channel.
    pub connector: Connector,
    /// The time.
    pub clock: Clock,
}

impl Context<dynamodb::Conversations, dynamodb::Notifications, dynamodb::Ledger, sqs::Queue> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = HttpTransport::builder().timeout(SEND_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        Ok(Self {
            conversations: dynamodb::Conversations::new(
                &sdk,
                environment.required(variable::CONVERSATIONS_TABLE)?,
            ),
            notifications: dynamodb::Notifications::new(
                &sdk,
                environment.required(variable::NOTIFICATIONS_TABLE)?,
            ),
            ledger: dynamodb::Ledger::new(&sdk, environment.required(variable::DELIVERIES_TABLE)?),
            deliveries: sqs::Queue::new(&sdk, environment.required(variable::DELIVERIES_QUEUE_URL)?),
            connector: herald::credential::connector(
                environment,
                &transport,
                &Clock::system(),
                &Chance::system(),
            )?,
            clock: Clock::system(),
        })
    }
}

impl<C, N, L, Q> Context<C, N, L, Q> {
    /// Fetches what the first request would wait for. To be run beside the start, not before it.
    pub async fn prefetch(&self) {
        self.connector.prefetch().await;
    }
}

/// What all the work of one invocation shares.
#[derive(Debug)]
pub struct Invocation {
    deadline: Timestamp,
    at_once: usize,
    /// Set once the bot itself was refused: nothing is begun before then.
    pause: OnceLock<Timestamp>,
}

impl Invocation {
    /// Until `deadline`, with `at_once` deliveries of each chunk under way at once.
    pub const fn new(deadline: Timestamp, at_once: usize) -> Self {
        Self {
            deadline,
            at_once,
            pause: OnceLock::new(),
        }
    }

    /// Begins nothing before `until`. Whoever is first tells why, once for the invocation.
    fn pause(&self, until: Timestamp, tell: impl FnOnce()) -> Timestamp {
        *self.pause.get_or_init(|| {
            tell();
            until
        })
    }
}

/// Handles a batch, its chunks at once; what failed comes back alone.
pub async fn handle<C: Conversations, N: Notifications, L: Ledger, Q: Queue>(
    context: &Context<C, N, L, Q>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    let at_once = (DELIVERIES_AT_ONCE / event.records.len().max(1)).max(1);
    let invocation = &Invocation::new(deadline, at_once);
    sqs::handle_each(event, |chunk| run(context, chunk, invocation)).await
}

/// Where a delivery stands after its turn here.
enum Turn {
    /// It has ended, now or before.
    Ended(Outcome),
    /// It is open; nobody need ask before then.
    Open(Timestamp),
}

/// Handles one chunk.
///
/// # Errors
/// When a table or a queue is away. The same message, handled again, goes on from what the ledger says.
pub async fn run<C: Conversations, N: Notifications, L: Ledger, Q: Queue>(
    context: &Context<C, N, L, Q>,
    chunk: Chunk,
    invocation: &Invocation,
) -> Result<(), Error> {
    let id = &chunk.notification;
    let found = tokio::try_join!(context.notifications.find(id), context.notifications.message(id))?;
    let (Some(notification), Some(message)) = found else {
        tracing::warn!(error_type = "ChunkWithoutNotification", notification = %id, "nothing is sent");
        return Ok(());
    };
    let keys: Vec<ConversationKey> = chunk
        .recipients
        .iter()
        .filter_map(conversation_key)
        .cloned()
        .collect();
    let recalled = context.conversations.recall(&keys).await?;
    let known: HashMap<&ConversationKey, &Conversation> =
        recalled.iter().map(|known| (&known.key, known)).collect();

    let worker = Worker {
        context,
        notification: &notification,
        message: &message,
        invocation,
    };
    let turns: Vec<_> = stream::iter(&chunk.recipients)
        .map(|recipient| {
            let conversation = conversation_key(recipient)
                .and_then(|key| known.get(key))
                .copied();
            let worker = &worker;
            async move { (recipient, worker.deliver(recipient, conversation).await) }
        })
        .buffer_unordered(invocation.at_once)
        .collect()
        .await;

    // Every delivery had its turn before a failure is told: a table that fails for one must not stop the others.
    let mut settled = chunk.settled;
    let mut open = Vec::new();
    let mut earliest: Option<Timestamp> = None;
    for (recipient, turn) in turns {
        match turn? {
            Turn::Ended(outcome) => settled.count(&outcome),
            Turn::Open(until) => {
                open.push(recipient.clone());
                earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
            }
        }
    }
    match earliest {
        None => {
            context.notifications.close(id, chunk.chunk, &settled).await?;
            tracing::info!(notification = %id, deliveries = settled.total(), delivered = settled.delivered, "chunk ended");
        }
        Some(earliest) => {
            let wait =
                Duration::try_from(earliest.duration_since(context.clock.now())).unwrap_or(Duration::ZERO);
            tracing::info!(notification = %id, open = open.len(), wait_s = wait.as_secs(), "chunk goes on later");
            let rest = Chunk {
                recipients: open,
                settled,
                ..chunk
            };
            context.deliveries.send(vec![Message::json(&rest, wait)]).await?;
        }
    }
    Ok(())
}

fn conversation_key(recipient: &Recipient) -> Option<&ConversationKey> {
    match recipient {
        Recipient::Conversation(key) => Some(key),
        Recipient::User(_) | Recipient::Account(_) | Recipient::UnknownConversation(_) => None,
    }
}

/// One invocation's work on one notification.
struct Worker<'a, C, N, L, Q> {
    context: &'a Context<C, N, L, Q>,
    notification: &'a Notification,
    message: &'a Activity,
    invocation: &'a Invocation,
}

impl<C: Sync, N: Sync, L: Ledger, Q: Sync> Worker<'_, C, N, L, Q> {
    /// Gives one delivery its turn: claim, send, settle. What cannot be sent now is not claimed either, so that it
    /// counts as no attempt.
    async fn deliver(
        &self,
        recipient: &Recipient,
        conversation: Option<&Conversation>,
    ) -> Result<Turn, store::Error> {
        let delivery = DeliveryKey::new(&self.notification.id, recipient);
        if let Some(until) = self.silenced(conversation).await {
            return Ok(Turn::Open(until));
        }
        let deadline = self.invocation.deadline;
        let now = self.context.clock.now();
        if now > deadline.saturating_sub(MARGIN).unwrap_or(deadline) {
            return Ok(Turn::Open(now));
        }
        let lease = match self.context.ledger.claim(&delivery, now, deadline).await? {
            Claim::Taken(lease) => lease,
            Claim::Held { until } => return Ok(Turn::Open(until.min(later(now, ASK_HOLDER_AGAIN)))),
            Claim::Waiting { until } => return Ok(Turn::Open(until)),
            Claim::Settled(outcome) => return Ok(Turn::Ended(outcome)),
        };
        let next = match self.reason_not_to_send(lease, conversation, now) {
            Ok(conversation) => self.attempt(lease, conversation).await,
            Err(outcome) => Next::Settle(lease.ending(outcome)),
        };
        let ledger = &self.context.ledger;
        let (written, turn) = match next {
            Next::Settle(outcome) => (
                ledger.settle(&delivery, lease, &outcome).await?,
                Turn::Ended(outcome),
            ),
            Next::Wait { until, why, doubts } => (
                ledger.release(&delivery, lease, until, &why, doubts).await?,
                Turn::Open(until),
            ),
        };
        match written {
            Written::Stands => Ok(turn),
            // We overran our deadline and somebody took over. What they write is what counts: ask again.
            Written::Lost => Ok(Turn::Open(self.context.clock.now())),
        }
    }

    /// Until when the bot cannot speak in this conversation, if it cannot now.
    async fn silenced(&self, conversation: Option<&Conversation>) -> Option<Timestamp> {
        if let Some(until) = self.invocation.pause.get() {
            return Some(*until);
        }
        let service_url = conversation?.service_urls.first()?;
        let error = self.context.connector.ready(service_url).await.err()?;
        let until = self.after(SignedDuration::try_from(error.wait()).unwrap_or(REFUSED_WAIT));
        Some(self.invocation.pause(until, || tell_no_token(&error)))
    }

    fn after(&self, wait: SignedDuration) -> Timestamp {
        later(self.context.clock.now(), wait)
    }

    /// The conversation to send to, or how the delivery ends without a request.
    fn reason_not_to_send<'c>(
        &self,
        lease: Lease,
        conversation: Option<&'c Conversation>,
        now: Timestamp,
    ) -> Result<&'c Conversation, Outcome> {
        if !lease.permits_attempt(self.notification.on_unknown) {
            return Err(Outcome::Unknown);
        }
        if self.notification.expires_at <= now {
            return Err(Outcome::Expired);
        }
        let skipped = |reason| Err(Outcome::Skipped { reason });
        match conversation {
            None => skipped(SkipReason::NoConversation),
            Some(conversation) => match conversation.state {
                State::Active => Ok(conversation),
                State::Removed => skipped(SkipReason::Removed),
                State::Blocked { .. } => skipped(SkipReason::Blocked),
            },
        }
    }

    /// One attempt, and what follows from it.
    async fn attempt(&self, lease: Lease, conversation: &Conversation) -> Next {
        let attempt = match conversation.service_urls.first() {
            None => Attempt::Rejected("NoServiceUrl".to_owned()),
            Some(service_url) => match self.send(service_url, conversation).await {
                Ok(receipt) => Attempt::Delivered(receipt.activity_id),
                Err(error) if error.is_unauthorized() => return self.refused(lease, &error),
                Err(error) => {
                    tracing::warn!(
                        error_type = "SendFailed",
                        class = ?error.class(),
                        code = error.code(),
                        status = error.status(),
                        notification = %self.notification.id,
                        correlation = error.correlation(),
                        "attempt failed"
                    );
                    failed(&error, self.context.clock.now())
                }
            },
        };
        let Notification {
            on_unknown,
            expires_at,
            ..
        } = *self.notification;
        delivery::next(lease, attempt, on_unknown, self.context.clock.now(), expires_at)
    }

    /// One request to the Connector: *send to conversation*, replying to nothing.
    async fn send(
        &self,
        service_url: &str,
        conversation: &Conversation,
    ) -> Result<SendReceipt, connector::Error> {
        let mut activity = self.message.clone();
        conversation.reference.address(&mut activity);
        if conversation.facts.scope != Scope::Personal {
            // Whoever spoke last there is not who this is for.
            activity.recipient = None;
        }
        self.context
            .connector
            .send_to_conversation(service_url, &conversation.key.conversation, &activity)
            .await
    }

    /// The bot was refused, not this delivery: it waits like all others, however often it was tried.
    fn refused(&self, lease: Lease, error: &connector::Error) -> Next {
        let now = self.context.clock.now();
        let asked = error.retry_after().map(|wait| wait.delay(now.into()));
        let wait = asked.and_then(|wait| SignedDuration::try_from(wait).ok());
        let until = self.after(wait.unwrap_or(REFUSED_WAIT).min(REFUSED_WAIT_MAX));
        Next::Wait {
            until: self.invocation.pause(until, || tell_refused(error)),
            why: error.code().unwrap_or("TokenRefused").to_owned(),
            doubts: lease.doubts,
        }
    }
}

fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(now)
}

fn tell_no_token(error: &credential::Error) {
    tracing::error!(
        error_type = match error.fault() {
            Fault::Configuration => "TokenMisconfigured",
            Fault::Unavailable => "TokenUnavailable",
        },
        code = error.code(),
        error_codes = ?error.error_codes(),
        status = error.status(),
        correlation = error.correlation(),
        wait_s = error.wait().as_secs(),
        error = chain(error),
        "the bot has no token: nothing is sent before the next try"
    );
}

fn tell_refused(error: &connector::Error) {
    tracing::error!(
        error_type = if error.status().is_some() {
            "TokenRefused"
        } else {
            "TokenUnavailable"
        },
        code = error.code(),
        status = error.status(),
        correlation = error.correlation(),
        error = chain(error),
        "the channel does not take the bot's token: nothing is sent before the next try"
    );
}

/// What the ledger keeps of a failure: its class, the channel's word for it, and the wait it asked for.
fn failed(error: &connector::Error, now: Timestamp) -> Attempt {
    let code = match (error.code(), error.status(), error.class()) {
        (Some(code), _, _) => code.to_owned(),
        (None, Some(status), _) => format!("Http{status}"),
        (None, None, Class::NotSent) => "NotConnected".to_owned(),
        (None, None, Class::Rejected | Class::Gone) => "NotSendable".to_owned(),
        (None, None, Class::Unknown) => "NoAnswer".to_owned(),
    };
    let retry_after = error
        .retry_after()
        .and_then(|wait| SignedDuration::try_from(wait.delay(now.into())).ok());
    match error.class() {
        Class::NotSent => Attempt::NotSent { code, retry_after },
        Class::Rejected => Attempt::Rejected(code),
        Class::Gone => Attempt::Gone(code),
        Class::Unknown => Attempt::Unknown(code),
    }
}
