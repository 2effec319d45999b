//! Generated people, with ids as long as those of Teams.

use botframework::activity::Activity;
use herald::audience::Recipient;
use herald::conversation::{self, Attributes, Conversation, ConversationKey, Observation};
use herald::notification::{Notification, PAGE_SIZE, Page, StartPolicy, request::Request};
use herald::rate_limit::Bucket;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The length of Teams' conversation ids (`a:…`) and account ids (`29:…`).
const CONVERSATION_ID_LENGTH: usize = 100;
const ACCOUNT_ID_LENGTH: usize = 80;

/// People in tenants. Nothing is stored: every field follows from the number of the person.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The number of people, numbered from 0.
    pub people: u64,
    /// The number of tenants. A page of an audience has one tenant, as the index by tenant lists it.
    pub tenants: u64,
    /// The service URL of their channel.
    pub service_url: String,
}

impl Crowd {
    /// The number of this person's tenant.
    fn tenant_number(&self, person: u64) -> u64 {
        person / PAGE_SIZE as u64 % self.tenants.max(1)
    }

    /// The tenant of this person.
    pub fn tenant(&self, person: u64) -> String {
        format!("b0a7c0de-0000-4000-8000-{:012x}", self.tenant_number(person))
    }

    /// A message from this person to the bot.
    pub fn activity(&self, person: u64) -> Activity {
        let tenant = self.tenant(person);
        let value = json!({
            "type": "message", "id": "1767000100001", "timestamp": "2026-01-05T09:01:07.1234567Z",
            "serviceUrl": self.service_url, "channelId": "msteams",
            "from": {
                "id": padded("29:1", person, ACCOUNT_ID_LENGTH), "name": "Invented Person",
                "aadObjectId": format!("e0000000-0000-4000-8000-{person:012x}"),
            },
            "conversation": {"conversationType": "personal", "tenantId": tenant, "id": conversation_id(person)},
            "recipient": {"id": "28:b0700000-0000-4000-8000-0000000000b0", "name": "Herald"},
            "channelData": {"tenant": {"id": tenant}}, "text": "hello", "locale": "en-GB",
        });
        Activity::from_value(value).unwrap()
    }

    /// The observation that the activity of this person makes.
    pub fn observation(&self, person: u64) -> Observation {
        Observation::from_activity(&self.activity(person)).pop().unwrap()
    }

    /// The stored conversation of this person.
    pub fn conversation(&self, person: u64, now: Timestamp) -> Conversation {
        conversation::remember(None, self.observation(person), now).unwrap()
    }

    /// The key and the attributes of their conversation, much cheaper to make than the whole record.
    pub fn candidate(&self, person: u64) -> (ConversationKey, Attributes) {
        let key = ConversationKey {
            conversation: conversation_id(person).into(),
            channel: "msteams".to_owned(),
            bot: "28:b0700000-0000-4000-8000-0000000000b0".into(),
        };
        let attributes = Attributes {
            scope: conversation::Scope::Personal,
            tenant: Some(self.tenant(person)),
            user: Some(format!("e0000000-0000-4000-8000-{person:012x}").as_str().into()),
            account: Some(padded("29:1", person, ACCOUNT_ID_LENGTH).as_str().into()),
            team: None,
            tags: Vec::new(),
        };
        (key, attributes)
    }

    /// The number of the person in this conversation.
    pub fn person(key: &ConversationKey) -> u64 {
        let (_, digits) = key.conversation.as_str().rsplit_once('-').unwrap();
        digits.parse().unwrap()
    }

    /// All people, in pages as a planner writes them.
    pub fn pages(&self) -> impl Iterator<Item = Page> {
        let last = self.people.div_ceil(PAGE_SIZE as u64).saturating_sub(1);
        (0..=last).map(move |page| {
            let first = page * PAGE_SIZE as u64;
            let people = first..(first + PAGE_SIZE as u64).min(self.people);
            let recipients = people.map(|person| {
                let (key, attributes) = self.candidate(person);
                let bucket = Bucket::of(&key, attributes.tenant.as_deref());
                (Some(bucket), Recipient::Conversation(key))
            });
            Page::group(recipients, (page < last).then(|| page.to_string()))
        })
    }
}

fn conversation_id(person: u64) -> String {
    padded("a:1", person, CONVERSATION_ID_LENGTH)
}

fn padded(prefix: &str, person: u64, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = format!("-{person:09}");
    let padding = length.saturating_sub(prefix.len() + digits.len());
    // Letters without a pattern, as in Teams' ids: a page must not compress better than a real one.
    let mut state = person;
    let letters = (0..padding).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(state >> 58) as usize])
    });
    format!("{prefix}{}{digits}", letters.collect::<String>())
}

/// The content of the notification: a card of about a kilobyte, and its summary.
pub fn news() -> Value {
    let paragraph = "The canteen is closed on Friday afternoon, because the new kitchen is being installed. From Monday on \
        there is breakfast from seven, lunch from half past eleven, and on Wednesdays soup in the evening.";
    let text = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
    let card = json!({
        "type": "AdaptiveCard", "version": "1.5", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "body": [{"type": "TextBlock", "text": "A new kitchen", "size": "large", "weight": "bolder"}, text(paragraph), text(paragraph)],
        "actions": [{"type": "Action.OpenUrl", "title": "What is for lunch", "url": "https://intranet.example/canteen"}],
    });
    json!({
        "summary": "A new kitchen",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    })
}

/// A notification of [`news`] to this audience, and its request.
pub fn notification(audience: &Value, now: Timestamp, random: [u8; 16]) -> (Notification, Request) {
    let request = Request::parse(&json!({"audience": audience, "message": news()}).into(), now).unwrap();
    let id = herald::id::NotificationId::fresh(now, random);
    let notification = Notification::begin(id, now, "crowd".to_owned(), &request, StartPolicy::Immediate);
    (notification, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_people_are_the_same_by_every_method() {
        let crowd = Crowd {
            people: 200,
            tenants: 2,
            service_url: "http://127.0.0.1:1/".to_owned(),
        };
        for person in [0, 95, 96, 199] {
            let conversation = crowd.conversation(person, Timestamp::UNIX_EPOCH);
            assert_eq!(
                crowd.candidate(person),
                (conversation.key.clone(), conversation.attributes.clone())
            );
            assert_eq!(Crowd::person(&conversation.key), person);
            assert_eq!(
                conversation.key.conversation.as_str().len(),
                CONVERSATION_ID_LENGTH
            );
        }
        let pages: Vec<_> = crowd.pages().collect();
        let sizes: Vec<_> = pages.iter().map(Page::recipients).collect();
        assert_eq!(sizes, [96, 96, 8]);
        assert!(pages.iter().all(|page| page.chunks.len() == 1));
        assert!(pages[1].next.is_some() && pages[2].next.is_none());
        assert_ne!(pages[0].chunks[0].bucket, pages[1].chunks[0].bucket);
    }
}
