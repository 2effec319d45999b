//! What the bot's code puts a conversation under, for audiences: the same tags that callers set.

use botframework::activity::Activity;
use botframework::reference::ConversationReference;
use botframework::turn;
use herald::clock::Clock;
use herald::conversation::{ConversationKey, is_tag};
use herald::store::Conversations;

/// The tags of the conversation that a turn is in. A thread in a channel has those of the channel.
#[derive(Debug)]
pub struct Tags<'a, S> {
    store: &'a S,
    clock: &'a Clock,
    /// None when nobody vouches for the conversation.
    here: Option<ConversationKey>,
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// It is as it was asked for, now or before.
    Done,
    /// It is no tag: those have 1 to 64 bytes, and no control characters.
    NoTag,
    /// The conversation carries 20 others already.
    TooMany,
    /// The conversation is not remembered: another bot speaks here, and nothing vouches for what it names.
    Nowhere,
}

impl<'a, S: Conversations> Tags<'a, S> {
    /// The tags of the conversation that an activity of the channel itself is in.
    pub(crate) fn of(store: &'a S, clock: &'a Clock, activity: &Activity) -> Self {
        let here = ConversationKey::of(&ConversationReference::from_activity(activity));
        let here = here.map(|key| ConversationKey {
            conversation: key.conversation.channel(),
            ..key
        });
        Self { store, clock, here }
    }

    /// Those of a conversation that nothing vouches for: it has none.
    pub(crate) fn of_nowhere(store: &'a S, clock: &'a Clock) -> Self {
        let here = None;
        Self { store, clock, here }
    }

    /// Puts the conversation under a tag: from now on it is in the audience `{"tag": name}`.
    ///
    /// # Errors
    /// When the table is away. The turn is to fail by it, so that the channel repeats the activity.
    pub async fn add(&self, name: &str) -> Result<Tagged, turn::Error> {
        self.change(name, Change::Add).await
    }

    /// Takes the conversation from under a tag, if it is under it.
    ///
    /// # Errors
    /// As of [`add`](Self::add).
    pub async fn remove(&self, name: &str) -> Result<Tagged, turn::Error> {
        self.change(name, Change::Remove).await
    }

    async fn change(&self, name: &str, change: Change) -> Result<Tagged, turn::Error> {
        let Some(here) = &self.here else {
            return Ok(Tagged::Nowhere);
        };
        if !is_tag(name) {
            return Ok(Tagged::NoTag);
        }
        let name = [name.to_owned()];
        let (add, remove) = match change {
            Change::Add => (&name[..], &[][..]),
            Change::Remove => (&[][..], &name[..]),
        };
        let tags = self.store.tag(here, add, remove, self.clock.now()).await;
        Ok(match tags.map_err(turn::Error::bot)? {
            None => Tagged::Nowhere,
            Some(tags) if change == Change::Add && !tags.contains(&name[0]) => Tagged::TooMany,
            Some(_) => Tagged::Done,
        })
    }
}

/// What is done to a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

#[cfg(test)]
mod tests {
    use herald::conversation::Observation;
    use herald::store::memory::Store;

    use super::*;

    #[tokio::test]
    async fn a_conversation_that_nobody_vouches_for_is_put_under_no_tag() {
        let (store, clock) = (Store::new(), Clock::system());
        let body = br#"{"type": "message", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/",
            "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"}, "conversation": {"id": "a:ada"}}"#;
        let activity = Activity::from_slice(body).unwrap();
        let here = Tags::of(&store, &clock, &activity);
        assert_eq!(
            here.add("beta").await.unwrap(),
            Tagged::Nowhere,
            "not remembered yet"
        );
        store
            .remember(Observation::from_activity(&activity).remove(0), clock.now())
            .await
            .unwrap();
        let nowhere = Tags::of_nowhere(&store, &clock);
        assert_eq!(nowhere.add("beta").await.unwrap(), Tagged::Nowhere);
        assert_eq!(here.add("beta").await.unwrap(), Tagged::Done);
        assert_eq!(here.add("").await.unwrap(), Tagged::NoTag);
        assert_eq!(nowhere.remove("beta").await.unwrap(), Tagged::Nowhere);
        let known = store.get_many(&[here.here.clone().unwrap()]).await.unwrap();
        assert_eq!(known[0].attributes.tags, ["beta"]);
    }
}
