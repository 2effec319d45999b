//! A wire to a DynamoDB that counts requests and their billed units.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A wire that counts. Clones are the same wire.
#[derive(Clone, Debug)]
pub struct Counter {
    address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

/// The totals by operation, table, and kind of item.
pub type Counts = BTreeMap<String, Count>;

/// The totals of one kind of request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// The number of requests.
    pub requests: u64,
    /// The requests that failed on a condition or a cancelled transaction.
    pub refused: u64,
    /// Read units.
    pub read_units: f64,
    /// Write units. A failed write counts as one.
    pub write_units: f64,
}

impl Counter {
    /// Opens a wire to the DynamoDB at `upstream`, as long as the runtime lasts.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn to(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let counter = Self {
            address: listener.local_addr()?,
            counts: Arc::default(),
        };
        let counts = Arc::clone(&counter.counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let counts = Arc::clone(&counts);
                // The client notices a connection that fails.
                tokio::spawn(async move { carry(client, upstream, &counts).await });
            }
        });
        Ok(counter)
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The totals since the last call, by operation, table, and kind of item.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, counts: &Mutex<Counts>) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    loop {
        let Some((head, body)) = message(&mut client, &mut from_client).await? else {
            return Ok(());
        };
        let operation = header(&head, "x-amz-target")
            .and_then(|target| target.rsplit_once('.'))
            .map_or(String::new(), |(_, operation)| operation.to_owned());
        let mut request: Value = serde_json::from_slice(&body)?;
        request["ReturnConsumedCapacity"] = json!("TOTAL");
        let body = request.to_string();
        // The signature no longer fits the changed body; this server does not verify it.
        let mut sent = with_length(&head, body.len()).into_bytes();
        sent.extend_from_slice(body.as_bytes());
        server.write_all(&sent).await?;

        let Some((head, body)) = message(&mut server, &mut from_server).await? else {
            return Ok(());
        };
        count(
            &operation,
            &request,
            serde_json::from_slice(&body).ok().as_ref(),
            counts,
        );
        let mut answer = head.into_bytes();
        answer.extend_from_slice(&body);
        client.write_all(&answer).await?;
    }
}

fn count(operation: &str, request: &Value, answer: Option<&Value>, counts: &Mutex<Counts>) {
    let reads = ["GetItem", "BatchGetItem", "Query", "Scan"].contains(&operation);
    let consumed = answer.map(|answer| &answer["ConsumedCapacity"]);
    let units: Option<f64> = match consumed {
        Some(Value::Array(tables)) => Some(
            tables
                .iter()
                .filter_map(|table| table["CapacityUnits"].as_f64())
                .sum(),
        ),
        Some(one) => one["CapacityUnits"].as_f64(),
        None => None,
    };
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts.entry(name(operation, request)).or_default();
    count.requests += 1;
    // Of a batch, each statement is refused by itself.
    let statements = answer.and_then(|answer| answer["Responses"].as_array());
    let refused = statements.map(|all| all.iter().filter(|one| one["Error"].is_object()).count() as u64);
    count.refused += refused.unwrap_or(0) + u64::from(units.is_none());
    *(if reads {
        &mut count.read_units
    } else {
        &mut count.write_units
    }) += units.unwrap_or(1.0);
}

/// The operation, its table, and the kind of its item.
fn name(operation: &str, request: &Value) -> String {
    let (table, kind) = match operation {
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object();
            let (table, asked) = tables.and_then(|tables| tables.iter().next()).unzip();
            let keys = asked.and_then(|asked| asked["Keys"].as_array());
            let kinds = keys.into_iter().flatten().map(kind);
            (table.map_or("", String::as_str), kinds.fold(String::new(), join))
        }
        "TransactWriteItems" => {
            let items = request["TransactItems"].as_array().into_iter().flatten();
            let mut actions = items.filter_map(|item| item.as_object()?.values().next());
            let table = actions
                .clone()
                .next()
                .and_then(|action| action["TableName"].as_str());
            let kinds = actions.by_ref().map(|action| {
                if action["Item"].is_null() {
                    kind(&action["Key"])
                } else {
                    kind(&action["Item"])
                }
            });
            (table.unwrap_or_default(), kinds.fold(String::new(), join))
        }
        "BatchExecuteStatement" => {
            let statements = request["Statements"].as_array().into_iter().flatten();
            let mut texts = statements.clone().filter_map(|one| one["Statement"].as_str());
            let table = texts.next().and_then(|text| text.split('"').nth(1));
            let parameters = statements.filter_map(|one| one["Parameters"].as_array());
            let kinds = parameters.flatten().filter_map(|value| value["S"].as_str());
            let kinds = kinds
                .filter(|text| text.contains('|'))
                .map(|text| kind(&json!({"delivery": {"S": text}})));
            (table.unwrap_or_default(), kinds.fold(String::new(), join))
        }
        _ => {
            let key = ["Key", "Item", "ExpressionAttributeValues"].map(|name| &request[name]);
            let kind = key.into_iter().find(|value| !value.is_null()).map(kind);
            (
                request["TableName"].as_str().unwrap_or_default(),
                kind.unwrap_or_default(),
            )
        }
    };
    format!("{operation} {} {kind}", table.trim_end_matches("Table"))
}

fn join(kinds: String, kind: String) -> String {
    if kinds.is_empty() {
        kind
    } else if kinds.split('+').any(|known| known == kind) {
        kinds
    } else {
        format!("{kinds}+{kind}")
    }
}

/// The kind of an item: the first word of its key.
fn kind(key: &Value) -> String {
    let text = ["part", "delivery", ":beginning"]
        .iter()
        .find_map(|name| key[*name]["S"].as_str())
        .unwrap_or_default();
    if text.len() >= 32 && text.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return "hash".to_owned();
    }
    let word: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    if word == "ntf" { "row".to_owned() } else { word }
}

/// The next message of a connection: its head and its body. `None` at the end.
async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
            let length = header(&head, "content-length").and_then(|length| length.parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Ok(Some((head, body)));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.trim())
}

fn with_length(head: &str, length: usize) -> String {
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.is_empty()).collect();
    lines.retain(|line| {
        !line
            .get(..15)
            .is_some_and(|start| start.eq_ignore_ascii_case("content-length:"))
    });
    format!("{}\r\ncontent-length: {length}\r\n\r\n", lines.join("\r\n"))
}
