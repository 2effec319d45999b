//! A claim: [`delivery::claim`] as one conditional write on what was read.
//!
//! Why a claim never acts on a stale row: `DESIGN.md#freshness`.

use futures_util::future::try_join;

use super::super::attribute::{Item, Record, has_token, item, moment, number, text};
use super::super::grouped::Replaces;
use super::super::{Error, Expression, MAX_CAS_ROUNDS, Put, new_write_token};
use super::row::read_row;
use super::{Ledger, key, prefixed_key};
use crate::conversation::ConversationKey;
use crate::delivery::{
    self, AttemptLease, Claim, ClaimRequest, ClaimState, ConversationLease, Decision, DeliveryKey, Row,
};
use crate::store::{RowGuard, RowWrite};

const VERB: &str = "claim a delivery";

/// How fresh the rows are that a claim is decided by, relative to the lease.
///
/// The lease is written on the version that was read, so whatever another holder of the lease writes between that read and the write
/// makes the write fail. What was written *before* the lease was read must be in the rows: an older row may miss that this very
/// delivery held the lease in between, was sent, and is settled.
#[derive(Clone, Copy)]
enum RowFreshness {
    /// The row was read with the lease, in one request, which reads its items in any order. The holder's row was not read.
    SameBatch,
    /// The rows of the delivery and of the holder were read after the lease.
    AfterLease,
    /// The row was read before the lease, which another worker took just now. The holder's row was not read.
    Stale,
}

/// What must be read before a decision may be trusted.
enum MustRead {
    Nothing,
    /// The row of the lease's holder.
    Holder,
    /// The holder's row, and the delivery's own row again.
    Both,
}

impl RowFreshness {
    /// What must be read before this decision may be trusted. `own`: the lease is the delivery's own.
    ///
    /// Our own lease carries its attempt number, so a stale row shows: the claim answers that the lease is held, or the write-up
    /// fails and brings the row. A foreign lease that has expired was taken before we started, so the row we read afterwards is
    /// fresh; this is the common case. Only a foreign lease that has not expired needs a second read of our own row.
    fn must_read(self, decision: &Decision, own: bool) -> MustRead {
        match (self, decision) {
            (Self::AfterLease, _) => MustRead::Nothing,
            (Self::SameBatch, Decision::RecordCrash(_)) if !own => MustRead::Holder,
            (Self::SameBatch, Decision::Reply(Claim::ConversationBusy { .. })) if !own => MustRead::Both,
            // Expired, and taken just now: the clocks disagree.
            (Self::Stale, Decision::RecordCrash(_)) => MustRead::Both,
            // A lease that was taken just now is most likely held: a busy answer is trusted.
            (
                Self::SameBatch | Self::Stale,
                Decision::Reply(_) | Decision::Acquire(..) | Decision::RecordCrash(_),
            ) => MustRead::Nothing,
        }
    }
}

/// What a claim has read so far.
struct Known {
    row: Option<Row>,
    lease: Option<StoredLease>,
    holder: Option<Row>,
    rows: RowFreshness,
}

impl Ledger {
    pub(super) async fn acquire(
        &self,
        request: ClaimRequest<'_>,
        conversation: &ConversationKey,
    ) -> Result<Claim, Error> {
        let lease_key = prefixed_key("lease", &conversation.to_string());
        let token = new_write_token();
        let mut known = self.read_claim(request.delivery, &lease_key).await?;
        for _ in 0..MAX_CAS_ROUNDS {
            let held = known.lease.as_ref().map(|lease| lease.held.clone());
            let decision = delivery::claim(
                request,
                ClaimState {
                    row: known.row.as_ref(),
                    lease: held.as_ref(),
                    holder: known.holder.as_ref(),
                },
            );
            if let Some(held) = &held
                && self
                    .refresh(&mut known, &decision, request.delivery, &held.holder)
                    .await?
            {
                continue;
            }
            match decision {
                Decision::Reply(claim) => return Ok(claim),
                Decision::RecordCrash(dead) => {
                    let holder = held.map_or_else(|| request.delivery.clone(), |held| held.holder);
                    let stored = self.record_crash(&holder, dead).await?;
                    if holder == *request.delivery {
                        known.row = stored;
                    } else {
                        known.holder = stored;
                    }
                }
                Decision::Acquire(held, lease) => {
                    let version = known.lease.as_ref().map(|lease| lease.version);
                    let put = self.put_lease(&lease_key, held, version, &token).await?;
                    if let Some(claim) = known.after_put(put, lease, &token)? {
                        return Ok(claim);
                    }
                }
            }
        }
        Err(Error::contention(VERB))
    }

    pub(super) async fn read_leases(
        &self,
        conversations: &[ConversationKey],
    ) -> Result<Vec<Option<ConversationLease>>, Error> {
        const VERB: &str = "read leases";
        let name = |key: &ConversationKey| prefixed_key("lease", &key.to_string());
        let names: Vec<String> = conversations.iter().map(name).collect();
        let found = self.read(VERB, names.iter().map(String::as_str)).await?;
        let lease = |name: &String| {
            let stored = found.get(name).map(StoredLease::read).transpose()?;
            Ok(stored.map(|stored| stored.held))
        };
        names.iter().map(lease).collect()
    }

    /// Reads the row of a delivery and the lease of its conversation, in one request.
    async fn read_claim(&self, delivery: &DeliveryKey, lease_key: &str) -> Result<Known, Error> {
        let reads = &self.strong_reads;
        let row = reads.get(VERB, key(delivery.as_str()));
        let (row, lease) = try_join(row, reads.get(VERB, key(lease_key))).await?;
        Ok(Known {
            row: row.map(|item| read_row(VERB, &item)).transpose()?,
            lease: lease.map(|item| StoredLease::read(&item)).transpose()?,
            holder: None,
            rows: RowFreshness::SameBatch,
        })
    }

    /// Reads the rows that the decision depends on; returns whether there were any to read.
    async fn refresh(
        &self,
        known: &mut Known,
        decision: &Decision,
        delivery: &DeliveryKey,
        holder: &DeliveryKey,
    ) -> Result<bool, Error> {
        match known.rows.must_read(decision, holder == delivery) {
            MustRead::Nothing => return Ok(false),
            MustRead::Holder => {
                // Rows only advance: if this read misses a change, the conditional write-up fails and returns it.
                let item = self.eventual_reads.get(VERB, key(holder.as_str())).await?;
                known.holder = item.map(|item| read_row(VERB, &item)).transpose()?;
            }
            MustRead::Both => {
                let read = async |delivery: &DeliveryKey| {
                    let item = self.strong_reads.get(VERB, key(delivery.as_str())).await?;
                    item.map(|item| read_row(VERB, &item)).transpose()
                };
                (known.row, known.holder) = try_join(read(delivery), read(holder)).await?;
            }
        }
        known.rows = RowFreshness::AfterLease;
        Ok(true)
    }

    /// Writes the row of a holder whose lease expired; the row that is stored then.
    async fn record_crash(&self, holder: &DeliveryKey, dead: Row) -> Result<Option<Row>, Error> {
        let guard = RowGuard::Lease(dead.purpose());
        Ok(match self.write(VERB, holder, &dead, &guard).await? {
            RowWrite::Written => Some(dead),
            RowWrite::Refused(stored) => stored,
        })
    }

    async fn put_lease(
        &self,
        lease_key: &str,
        held: ConversationLease,
        version: Option<u64>,
        token: &str,
    ) -> Result<Put, Error> {
        let (replaces, condition) = match version {
            None => (Replaces::Nothing, Expression::absent("delivery")),
            Some(version) => (
                Replaces::Equal("version", number(version)),
                Expression::equal("version", number(version)),
            ),
        };
        let version = version.unwrap_or(0) + 1;
        let mut attributes = StoredLease { held, version }.write();
        attributes.extend(key(lease_key));
        attributes.extend(item([
            ("writeToken", text(token)),
            ("expires", self.table.expiry()),
        ]));
        self.puts.put(VERB, attributes, replaces, condition).await
    }
}

impl Known {
    /// The claim, if the lease was written; otherwise remembers the lease that is stored.
    fn after_put(&mut self, put: Put, lease: AttemptLease, token: &str) -> Result<Option<Claim>, Error> {
        let stored = match put {
            Put::Written(_) => return Ok(Some(Claim::Acquired(lease))),
            // Our own write, whose answer was lost.
            Put::Refused(Some(stored)) if has_token(VERB, &stored, token)? => {
                return Ok(Some(Claim::Acquired(lease)));
            }
            Put::Refused(stored) => stored,
        };
        self.lease = stored.as_ref().map(StoredLease::read).transpose()?;
        self.holder = None;
        self.rows = RowFreshness::Stale;
        Ok(None)
    }
}

/// A lease in the table.
struct StoredLease {
    held: ConversationLease,
    /// Counts the writes, from 1.
    version: u64,
}

impl StoredLease {
    fn write(&self) -> Item {
        let ConversationLease {
            holder,
            attempt,
            ambiguous_attempts,
            until,
            next,
        } = &self.held;
        item([
            ("holder", text(holder.as_str())),
            ("attempt", number(*attempt)),
            ("ambiguousAttempts", number(*ambiguous_attempts)),
            ("until", moment(*until)),
            ("next", moment(*next)),
            ("version", number(self.version)),
        ])
    }

    fn read(item: &Item) -> Result<Self, Error> {
        let record = Record { verb: VERB, item };
        Ok(Self {
            held: ConversationLease {
                holder: DeliveryKey::stored(record.text("holder")?.to_owned()),
                attempt: record.number("attempt")?,
                ambiguous_attempts: record.number("ambiguousAttempts")?,
                until: record.moment("until")?,
                next: record.moment("next")?,
            },
            version: record.number("version")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::audience::Recipient;
    use crate::id::NotificationId;
    use crate::store::dynamodb::ledger::row::tests::billed_bytes;

    #[test]
    fn a_lease_of_teams_is_one_write_unit() {
        // As long as those of real channels, which are the longest.
        let conversation = ConversationKey {
            conversation: format!("19:{}@thread.tacv2;messageid=1700000000000", "x".repeat(60)).into(),
            channel: "msteams".to_owned(),
            bot: format!("28:{}", "0".repeat(36)).into(),
        };
        let now = Timestamp::UNIX_EPOCH;
        let id = NotificationId::fresh(now, [0; 16]);
        let held = ConversationLease {
            holder: DeliveryKey::new(&id, &Recipient::Conversation(conversation.clone())),
            attempt: u32::MAX,
            ambiguous_attempts: u32::MAX,
            until: now,
            next: now,
        };
        let mut lease = StoredLease { held, version: 1 }.write();
        lease.extend(key(&prefixed_key("lease", &conversation.to_string())));
        lease.extend(item([
            ("writeToken", text(new_write_token())),
            ("expires", number(0)),
        ]));
        assert!(billed_bytes(&lease) < 1024, "{}", billed_bytes(&lease));
    }

    #[test]
    fn a_prefixed_key_fits_however_long_its_name() {
        let long = |last| prefixed_key("lease", &format!("{}{last}", "x".repeat(9000)));
        assert!(long("1").len() < 2048);
        assert_ne!(long("1"), long("2"));
        assert_ne!(prefixed_key("lease", "x|y|z"), prefixed_key("rate", "x|y|z"));
    }
}
