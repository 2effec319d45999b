//! The enumerations of the schema. All are open: an unknown name is kept in `Other`.

use crate::wire::open_enum;

open_enum! {
    /// What kind of activity it is. Compared exactly, case included.
    ActivityType {
        /// Something said.
        Message = "message",
        /// Members came or left, or the conversation changed.
        ConversationUpdate = "conversationUpdate",
        /// The app was installed or removed.
        InstallationUpdate = "installationUpdate",
        /// Reactions to a message came or went.
        MessageReaction = "messageReaction",
        /// A message was edited.
        MessageUpdate = "messageUpdate",
        /// A message was deleted.
        MessageDelete = "messageDelete",
        /// Someone is typing.
        Typing = "typing",
        /// The conversation is over.
        EndOfConversation = "endOfConversation",
        /// Something with a name happened.
        Event = "event",
        /// Something with a name is asked, and the answer goes into the HTTP response.
        Invoke = "invoke",
        /// The answer to an invoke, between bots.
        InvokeResponse = "invokeResponse",
        /// Information for whoever debugs.
        Trace = "trace",
        /// The conversation passes to someone else.
        Handoff = "handoff",
        /// A private suggestion about a message.
        Suggestion = "suggestion",
        /// The user added or removed the bot as a contact.
        ContactRelationUpdate = "contactRelationUpdate",
        /// The user wants their data deleted.
        DeleteUserData = "deleteUserData",
        /// Something with a name is to be done.
        Command = "command",
        /// What became of a command.
        CommandResult = "commandResult",
    }
}

open_enum! {
    /// The kind of place a conversation is, in Teams.
    Scope {
        /// One person and the bot.
        Personal = "personal",
        /// A chat of several, or of a meeting.
        GroupChat = "groupChat",
        /// A channel of a team, or a thread in one.
        Channel = "channel",
    }
}

open_enum! {
    /// What an account is.
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
    /// How a text is to be read; an unknown format is read as plain.
    TextFormat {
        /// As it is (the default).
        Plain = "plain",
        /// As Markdown.
        Markdown = "markdown",
        /// As the channel's XML.
        Xml = "xml",
    }
}

open_enum! {
    /// Whether the bot waits for input.
    InputHint {
        /// It can take input but does not wait for it.
        Accepting = "acceptingInput",
        /// It waits for an answer.
        Expecting = "expectingInput",
        /// It takes none.
        Ignoring = "ignoringInput",
    }
}

open_enum! {
    /// How several attachments are laid out.
    AttachmentLayout {
        /// One below the other (the default).
        List = "list",
        /// Side by side.
        Carousel = "carousel",
    }
}

open_enum! {
    /// How much a message matters.
    Importance {
        /// Little.
        Low = "low",
        /// As usual (the default).
        Normal = "normal",
        /// Much.
        High = "high",
    }
}

open_enum! {
    /// How the answers to an activity are delivered; an unknown mode is taken as normal.
    DeliveryMode {
        /// Through the Connector (the default).
        Normal = "normal",
        /// Deprecated, the same as normal.
        Notification = "notification",
        /// In the HTTP response.
        ExpectReplies = "expectReplies",
        /// Without being recorded.
        Ephemeral = "ephemeral",
        /// As a stream in the HTTP response.
        Stream = "stream",
    }
}

open_enum! {
    /// What was done to an installation or a contact.
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
        /// Nobody says.
        Unknown = "unknown",
        /// It came to its end.
        CompletedSuccessfully = "completedSuccessfully",
        /// The user broke it off.
        UserCancelled = "userCancelled",
        /// The bot did not answer in time.
        BotTimedOut = "botTimedOut",
        /// The bot said something invalid.
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
    /// How far a programmatic action is.
    SemanticActionState {
        /// It begins.
        Start = "start",
        /// It goes on.
        Continue = "continue",
        /// It is done.
        Done = "done",
    }
}
