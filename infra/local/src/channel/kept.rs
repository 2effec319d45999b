//! What the channel keeps between runs: its port, because stored conversations contain it, and the bot's messages, so that
//! they can still be edited and deleted.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    data::{self, DataDir},
    journal::Journal,
    teams::{Posted, Posting, Teams},
};

const FILE: &str = "channel.jsonl";
const PORT: &str = "port";
/// The prefix of messages' keys.
const MESSAGE: &str = "message/";
/// How many ports are tried.
const PORTS: u16 = 20;

/// Why a channel cannot go on where the last one ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program uses its port.
    #[error(
        "the channel of this data needs {0}, which stored conversations contain, and another program uses it; end that \
         program, or choose another directory"
    )]
    PortInUse(SocketAddr),
    /// No port is free.
    #[error("no port from {0} on is free for the channel")]
    NoPort(SocketAddr),
    /// The directory cannot be used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A file cannot be read or written.
    #[error("cannot keep the channel's messages")]
    Io(#[from] io::Error),
}

/// The record of a channel.
#[derive(Debug)]
pub(super) struct Record(Journal);

impl Record {
    /// Opens the record, and the channel's port: the one of the last run, or else the next free one after `beside`.
    pub(super) async fn open(
        data: &DataDir,
        beside: SocketAddr,
    ) -> Result<(Record, TcpListener, Messages), Error> {
        let (mut journal, entries) = Journal::open(&data.private(FILE)?)?;
        let port = entries.iter().find(|(key, _)| key == PORT);
        let port = port.and_then(|(_, port)| u16::try_from(port.as_u64()?).ok());
        let listener = match port {
            Some(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let bound = TcpListener::bind(address).await;
                bound.map_err(|_| Error::PortInUse(address))?
            }
            None => free_port(beside.port()).await?,
        };
        journal.put(PORT, &listener.local_addr()?.port())?;
        let messages = entries.into_iter();
        let messages =
            messages.filter_map(|(key, value)| Some((key.strip_prefix(MESSAGE)?.to_owned(), value)));
        Ok((Record(journal), listener, Messages(messages.collect())))
    }

    /// Keeps a change of a message.
    pub(super) fn keep(&mut self, posted: &Posted) -> io::Result<()> {
        let key = format!("{MESSAGE}{}", posted.id);
        match posted.posting {
            Posting::New | Posting::Update => {
                let value = json!({ "conversation": posted.conversation, "activity": posted.activity });
                self.0.put(&key, &value)
            }
            Posting::Delete => self.0.remove(&key),
        }
    }
}

/// The messages of earlier runs, by id.
#[derive(Debug)]
pub(super) struct Messages(Vec<(String, Value)>);

impl Messages {
    /// Moves the messages of a conversation into the model, once it has this conversation.
    pub(super) fn restore(&mut self, teams: &mut Teams) {
        self.0.retain(|(id, message)| {
            let conversation = message.get("conversation").and_then(Value::as_str);
            let channel = conversation.and_then(|id| id.split(";messageid=").next());
            let place = channel.and_then(|channel| teams.named(channel));
            let Some(place) = place else { return true };
            teams.restore(place, id, message.get("activity").unwrap_or(&Value::Null));
            false
        });
    }
}

/// The first free port after this one: below the range that the system gives to outgoing connections, if this one is.
async fn free_port(port: u16) -> Result<TcpListener, Error> {
    for port in port.saturating_add(1)..=port.saturating_add(PORTS) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    Err(Error::NoPort(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}
