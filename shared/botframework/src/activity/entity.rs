use serde_json::{Map, Number, Value};

use crate::wire::{Held, wire_object};

use super::account::ChannelAccount;
use super::vocabulary::SemanticActionState;

wire_object! {
    /// Metadata of an activity: a type and, beside it in `extra`, whatever that type means.
    Entity {
        /// Which kind of metadata; `type` on the wire.
        "type" kind: Option<String>,
    }
}

wire_object! {
    /// Someone who is mentioned in the text.
    Mention {
        /// Who.
        "mentioned" mentioned: Option<ChannelAccount>,
        /// The words in the text that mention them, `<at>…</at>`; they must stand in the text exactly so.
        "text" text: Option<String>,
    }
}

wire_object! {
    /// What the user's client is.
    ClientInfo {
        /// Its language, BCP 47.
        "locale" locale: Option<String>,
        /// Its country.
        "country" country: Option<String>,
        /// Its platform.
        "platform" platform: Option<String>,
        /// Its time zone, an IANA name.
        "timezone" timezone: Option<String>,
    }
}

wire_object! {
    /// The place of an activity in a streamed message.
    StreamInfo {
        /// Which stream.
        "streamId" stream_id: Option<String>,
        /// `informative`, `streaming` or `final`.
        "streamType" stream_type: Option<String>,
        /// The place in the stream, from 1.
        "streamSequence" stream_sequence: Option<Number>,
        /// How the stream ended.
        "streamResult" stream_result: Option<String>,
    }
}

wire_object! {
    /// The programmatic action that goes with an activity.
    SemanticAction {
        /// Which action.
        "id" id: Option<String>,
        /// How far it is.
        "state" state: Option<SemanticActionState>,
        /// Its parameters, by name.
        "entities" entities: Option<Value>,
    }
}

impl Entity {
    /// A mention of `account` by the words `text`, which must stand in the activity's text exactly so.
    pub fn mention(account: ChannelAccount, text: impl Into<String>) -> Self {
        let mention = Mention {
            mentioned: Some(account),
            text: Some(text.into()),
            ..Mention::default()
        };
        let extra = match serde_json::to_value(mention) {
            Ok(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        Self {
            kind: Some("mention".to_owned()),
            extra,
        }
    }

    /// The mention that this is, if it is one.
    pub fn as_mention(&self) -> Option<Mention> {
        self.view("mention")
    }

    /// The client information that this is, if it is that.
    pub fn as_client_info(&self) -> Option<ClientInfo> {
        self.view("clientInfo")
    }

    /// The place in a streamed message that this is, if it is that.
    pub fn as_stream_info(&self) -> Option<StreamInfo> {
        self.view("streaminfo")
    }

    /// The properties as another type. Other SDKs compare entity types without case, and so do we.
    fn view<T: Held>(&self, kind: &str) -> Option<T> {
        let is_that = self.kind.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(kind));
        is_that
            .then(|| Value::Object(self.extra.clone()))
            .and_then(T::hold)
    }
}
