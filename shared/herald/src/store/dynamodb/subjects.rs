//! The copies of subjects, in the ledger's table.

use futures_util::future::try_join_all;

use super::attribute::{Item, Record, has_token, item, json, number, text};
use super::grouped::Replaces;
use super::ledger::{Ledger, key, prefixed_key};
use super::{Error, Expression, Put, new_write_token};
use crate::store::CasResult;
use crate::subject::{SubjectCopy, SubjectCopyKey};

/// The attribute with the copy.
const COPY: &str = "copy";

impl Ledger {
    pub(super) async fn read_subject_copies(
        &self,
        keys: &[SubjectCopyKey],
    ) -> Result<Vec<Option<SubjectCopy>>, Error> {
        const VERB: &str = "read copies of a subject";
        let reads = keys.iter().map(async |key| {
            let item = self.strong_reads.get(VERB, place(key)).await?;
            let read = |item: Item| {
                Record {
                    verb: VERB,
                    item: &item,
                }
                .json(COPY)
            };
            item.map(read).transpose()
        });
        try_join_all(reads).await
    }

    pub(super) async fn write_subject_copy(
        &self,
        key: &SubjectCopyKey,
        copy: &SubjectCopy,
    ) -> Result<CasResult, Error> {
        const VERB: &str = "write the copy of a subject";
        let token = new_write_token();
        let (replaces, condition) = match copy.version {
            0 | 1 => (Replaces::Nothing, Expression::absent("delivery")),
            version => (
                Replaces::Equal("version", number(version - 1)),
                Expression::equal("version", number(version - 1)),
            ),
        };
        let mut attributes = place(key);
        attributes.extend(item([
            (COPY, json(VERB, COPY, copy)?),
            ("version", number(copy.version)),
            ("writeToken", text(&token)),
            ("expires", self.table.expiry()),
        ]));
        Ok(
            match self.puts.put(VERB, attributes, replaces, condition).await? {
                Put::Written(_) => CasResult::Committed,
                // Our own write, whose answer was lost.
                Put::Refused(Some(stored)) if has_token(VERB, &stored, &token)? => CasResult::Committed,
                Put::Refused(_) => CasResult::Conflict,
            },
        )
    }
}

fn place(copy: &SubjectCopyKey) -> Item {
    key(&prefixed_key("subject", copy.as_str()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::conversation::ConversationKey;
    use crate::id::NotificationId;
    use crate::store::dynamodb::ledger::billed_bytes;

    #[test]
    fn a_copy_of_teams_is_one_write_unit() {
        // As long as those of real channels, which are the longest.
        let conversation = ConversationKey {
            conversation: format!("19:{}@thread.tacv2;messageid=1700000000000", "x".repeat(60)).into(),
            channel: "msteams".to_owned(),
            bot: format!("28:{}", "0".repeat(36)).into(),
        };
        let id = NotificationId::fresh(Timestamp::UNIX_EPOCH, [0; 16]);
        let activity = Some("1:".repeat(50).as_str().into());
        let copy = SubjectCopy::sent(None, &id, activity, Timestamp::UNIX_EPOCH)
            .unwrap()
            .taken_over(&id, Timestamp::UNIX_EPOCH);
        let mut stored = place(&SubjectCopyKey::new("caller", "build-7", &conversation));
        stored.extend(item([
            (COPY, json("test", COPY, &copy).unwrap()),
            ("version", number(copy.version)),
            ("writeToken", text(new_write_token())),
            ("expires", number(0)),
        ]));
        assert!(billed_bytes(&stored) < 1024, "{}", billed_bytes(&stored));
    }
}
