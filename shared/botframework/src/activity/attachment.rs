//! Attachments and buttons.

use serde_json::Value;

use crate::wire::wire_object;

wire_object! {
    /// A card, a picture or a file. It has `content` or `contentUrl`, not both.
    Attachment {
        /// The media type, or the card's type such as [`Attachment::ADAPTIVE_CARD`].
        "contentType" content_type: Option<String>,
        /// The URL of the content.
        "contentUrl" content_url: Option<String>,
        /// The inline content: any JSON.
        "content" content: Option<Value>,
        /// The file's name.
        "name" name: Option<String>,
        /// The URL of a thumbnail.
        "thumbnailUrl" thumbnail_url: Option<String>,
    }
}

wire_object! {
    /// A button or another action.
    CardAction {
        /// The action on a tap (`openUrl`, `imBack`, `messageBack`, …); `type` on the wire.
        "type" kind: Option<String>,
        /// The text of the button.
        "title" title: Option<String>,
        /// The URL of its picture.
        "image" image: Option<String>,
        /// Alternative text of the picture.
        "imageAltText" image_alt_text: Option<String>,
        /// The text that goes with the action.
        "text" text: Option<String>,
        /// The text shown in the conversation when it is tapped.
        "displayText" display_text: Option<String>,
        /// What the action carries: any JSON, a string for `postBack`, `imBack` and `openUrl`.
        "value" value: Option<Value>,
        /// Channel-specific data.
        "channelData" channel_data: Option<Value>,
    }
}

wire_object! {
    /// Buttons that are shown once, with the message.
    SuggestedActions {
        /// The account ids that see them; empty means all.
        "to" to: Vec<String>,
        /// The buttons, in order.
        "actions" actions: Vec<CardAction>,
    }
}

impl Attachment {
    /// Asks a person whether the bot may store a file of this size for them. The answer brings `context` back:
    /// [`FileAnswered`](crate::app::FileAnswered).
    pub fn file_consent(name: impl Into<String>, description: &str, bytes: u64, context: &Value) -> Self {
        let asked = serde_json::json!({"description": description, "sizeInBytes": bytes,
            "acceptContext": context, "declineContext": context});
        Self {
            content_type: Some("application/vnd.microsoft.teams.card.file.consent".to_owned()),
            content: Some(asked),
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// The content type of an Adaptive Card.
    pub const ADAPTIVE_CARD: &'static str = "application/vnd.microsoft.card.adaptive";

    /// Wraps the JSON of an Adaptive Card as an attachment.
    pub fn adaptive_card(card: Value) -> Self {
        Self {
            content_type: Some(Self::ADAPTIVE_CARD.to_owned()),
            content: Some(card),
            ..Self::default()
        }
    }
}
