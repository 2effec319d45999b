//! The enumerations of the schema. All are open: an unknown name is kept in `Other`.

use crate::wire::open_enum;

open_enum! {
    /// The type of an activity. Compared exactly, case included.
    ActivityType {
        /// A message.
        Message = "message",
        /// Members joined or left, or the conversation changed.
        ConversationUpdate = "conversationUpdate",
        /// The app was installed or removed.
        InstallationUpdate = "installationUpdate",
        /// Reactions to a message were added or removed.
        MessageReaction = "messageReaction",
        /// A message was edited.
        MessageUpdate = "messageUpdate",
        /// A message was deleted.
        MessageDelete = "messageDelete",
        /// Someone is typing.
        Typing = "typing",
        /// The conversation has ended.
        EndOfConversation = "endOfConversation",
        /// A named event.
        Event = "event",
        /// A named request; the HTTP response carries its result.
        Invoke = "invoke",
        /// The response to an invoke, between bots.
        InvokeResponse = "invokeResponse",
        /// Diagnostic information for the emulator.
        Trace = "trace",
        /// The conversation is handed over to another bot or person.
        Handoff = "handoff",
        /// A private suggestion about a message.
        Suggestion = "suggestion",
        /// The user added or removed the bot as a contact.
        ContactRelationUpdate = "contactRelationUpdate",
        /// The user requests the deletion of their data.
        DeleteUserData = "deleteUserData",
        /// A named command.
        Command = "command",
        /// The result of a command.
        CommandResult = "commandResult",
    }
}

open_enum! {
    /// The scope of a conversation in Teams.
    Scope {
        /// One person and the bot.
        Personal = "personal",
        /// A group chat or a meeting's chat.
        GroupChat = "groupChat",
        /// A channel of a team, or a thread in one.
        Channel = "channel",
    }
}

open_enum! {
    /// The kind of an account.
    Role {
        /// A person.
        User = "user",
        /// A bot.
        Bot = "bot",
        /// A bot that another bot calls.
        Skill = "skill",
        /// An agent.
        Agent = "agent",
        /// An instance of an agent with an identity of its own.
        AgenticInstance = "agenticInstance",
        /// An agent with a user account of its own.
        AgenticUser = "agenticUser",
        /// A user known to the connector.
        ConnectorUser = "connectoruser",
    }
}

open_enum! {
    /// The format of a text; an unknown format is read as plain.
    TextFormat {
        /// Plain text (the default).
        Plain = "plain",
        /// Markdown.
        Markdown = "markdown",
        /// The channel's XML.
        Xml = "xml",
    }
}

open_enum! {
    /// Whether the bot waits for input.
    InputHint {
        /// The bot accepts input but does not wait for it.
        Accepting = "acceptingInput",
        /// The bot waits for input.
        Expecting = "expectingInput",
        /// The bot accepts no input.
        Ignoring = "ignoringInput",
    }
}

open_enum! {
    /// The layout of several attachments.
    AttachmentLayout {
        /// A vertical list (the default).
        List = "list",
        /// A horizontal carousel.
        Carousel = "carousel",
    }
}

open_enum! {
    /// The importance of a message.
    Importance {
        /// Low importance.
        Low = "low",
        /// Normal importance (the default).
        Normal = "normal",
        /// High importance.
        High = "high",
    }
}

open_enum! {
    /// How replies to an activity are delivered; an unknown mode is read as normal.
    DeliveryMode {
        /// Through the Connector (the default).
        Normal = "normal",
        /// Deprecated, the same as normal.
        Notification = "notification",
        /// In the HTTP response.
        ExpectReplies = "expectReplies",
        /// Not recorded by the channel.
        Ephemeral = "ephemeral",
        /// As a stream in the HTTP response.
        Stream = "stream",
    }
}

open_enum! {
    /// The change of an installation or a contact.
    InstallationAction {
        /// Installed.
        Add = "add",
        /// Removed.
        Remove = "remove",
        /// Installed by an upgrade of the app.
        AddUpgrade = "add-upgrade",
        /// Removed by an upgrade of the app.
        RemoveUpgrade = "remove-upgrade",
    }
}

open_enum! {
    /// Why a conversation ended.
    EndOfConversationCode {
        /// No reason is given.
        Unknown = "unknown",
        /// The conversation was completed.
        CompletedSuccessfully = "completedSuccessfully",
        /// The user cancelled it.
        UserCancelled = "userCancelled",
        /// The bot timed out.
        BotTimedOut = "botTimedOut",
        /// The bot sent an invalid message.
        BotIssuedInvalidMessage = "botIssuedInvalidMessage",
        /// The channel failed.
        ChannelFailed = "channelFailed",
    }
}

open_enum! {
    /// A reaction to a message, by its name in Teams.
    ReactionType {
        /// Thumbs up.
        Like = "like",
        /// A heart.
        Heart = "heart",
        /// Laughing.
        Laugh = "laugh",
        /// Surprised.
        Surprised = "surprised",
        /// Sad.
        Sad = "sad",
        /// Angry.
        Angry = "angry",
    }
}

open_enum! {
    /// The progress of a programmatic action.
    SemanticActionState {
        /// The action starts.
        Start = "start",
        /// The action continues.
        Continue = "continue",
        /// The action is complete.
        Done = "done",
    }
}
