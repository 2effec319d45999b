//! DynamoDB in the test's own process, with Herald's tables, on its own loopback port.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use botframework::http::HttpTransport;
use dynoxide::Database as Engine;
use dynoxide::actions::scan::ScanRequest;
use herald::aws::Sdk;
use herald::config::Environment;
use herald::store::dynamodb::{Conversations, Ledger, Notifications, Registry};
use herald_local::template::{AwsLocation, Stack, Template};
use serde_json::Value;
use tokio::net::TcpListener;

const CONVERSATIONS: &str = "ConversationsTable";
const NOTIFICATIONS: &str = "NotificationsTable";
const DELIVERIES: &str = "DeliveriesTable";

/// Empty tables behind real HTTP. They last as long as the test's runtime.
pub struct Database {
    address: SocketAddr,
    engine: Engine,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Makes the tables and serves them.
    pub async fn start() -> Self {
        let engine = Engine::memory().unwrap();
        for table in tables() {
            engine
                .create_table(serde_json::from_value(table).unwrap())
                .unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener,
            engine.clone(),
            pending(),
        ));
        Self { address, engine }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of items of any kind in the conversations table.
    pub fn items_of_conversations(&self) -> usize {
        let all = ScanRequest {
            table_name: CONVERSATIONS.to_owned(),
            ..ScanRequest::default()
        };
        self.engine.scan(all).unwrap().count
    }

    /// The TTL, in seconds since 1970, of each item of the conversations table that contains this text.
    pub fn expiries_of_conversations_naming(&self, text: &str) -> Vec<Option<i64>> {
        let all = ScanRequest {
            table_name: CONVERSATIONS.to_owned(),
            ..ScanRequest::default()
        };
        let answer = serde_json::to_value(self.engine.scan(all).unwrap()).unwrap();
        let items = answer["Items"].as_array().into_iter().flatten();
        let naming = items.filter(|item| item.to_string().contains(text));
        naming
            .map(|item| item["expires"]["N"].as_str()?.parse().ok())
            .collect()
    }

    /// Writes an item into the deliveries table, whatever it is.
    pub fn put_delivery(&self, item: &Value) {
        let put = serde_json::json!({"TableName": DELIVERIES, "Item": item});
        self.engine
            .put_item(serde_json::from_value(put).unwrap())
            .unwrap();
    }

    /// The conversations.
    pub fn conversations(&self) -> Conversations {
        conversations_at(self.address)
    }

    /// The notifications.
    pub fn notifications(&self) -> Notifications {
        notifications_at(self.address)
    }

    /// The records of the registry.
    pub fn registry(&self) -> Registry {
        registry_at(self.address)
    }

    /// The ledger.
    pub fn ledger(&self) -> Ledger {
        ledger_at(self.address)
    }
}

/// The conversations at this address, real or faked.
pub fn conversations_at(address: SocketAddr) -> Conversations {
    Conversations::new(&sdk(address), CONVERSATIONS)
}

/// The notifications at this address, real or faked.
pub fn notifications_at(address: SocketAddr) -> Notifications {
    Notifications::new(&sdk(address), NOTIFICATIONS)
}

/// The registry at this address, real or faked.
pub fn registry_at(address: SocketAddr) -> Registry {
    Registry::new(&sdk(address), NOTIFICATIONS)
}

/// The ledger at this address, real or faked.
pub fn ledger_at(address: SocketAddr) -> Ledger {
    Ledger::new(&sdk(address), DELIVERIES)
}

/// An SDK that sends the requests of every service to `address`.
pub fn sdk(address: SocketAddr) -> Sdk {
    Sdk::new(
        &environment(address, &[]),
        &HttpTransport::builder().build().unwrap(),
    )
    .unwrap()
}

/// The environment of a function with these additional variables, whose SDK sends the requests of every service to
/// `address`.
///
/// Each environment has its own region, because the SDK has one retry allowance for a region in the whole process: a test
/// that uses it up must not affect another one.
pub fn environment<'a>(address: SocketAddr, variables: &'a [(&'a str, &'a str)]) -> Environment<'a> {
    static REGIONS: AtomicUsize = AtomicUsize::new(0);
    let region = REGIONS.fetch_add(1, Ordering::Relaxed);
    Environment::from_fn(move |name| match name {
        "AWS_REGION" => Some(format!("made-up-{region}")),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("made-up".to_owned()),
        "AWS_ENDPOINT_URL" => Some(format!("http://{address}")),
        _ => {
            let mut variables = variables.iter();
            variables.find_map(|(known, value)| (*known == name).then(|| (*value).to_owned()))
        }
    })
}

/// Requests that create the tables of `infra/template.yaml`.
fn tables() -> impl Iterator<Item = Value> {
    stack().tables.into_iter().map(|table| table.create)
}

/// The parsed `infra/template.yaml`.
pub fn stack() -> Stack {
    let location = AwsLocation {
        region: "made-up".to_owned(),
        account: "000000000000".to_owned(),
        stack: "tests".to_owned(),
        sqs_endpoint: String::new(),
        parameters: BTreeMap::from([("MicrosoftAppId".to_owned(), "made-up".to_owned())]),
    };
    Template::of_repository().unwrap().deploy(&location).unwrap()
}
