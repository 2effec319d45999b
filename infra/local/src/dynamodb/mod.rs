//! The tables: `dynoxide`, an embedded DynamoDB, served over HTTP for the real SDK.

mod engine;

use std::{
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use dynoxide::{
    Database as Engine,
    actions::{
        create_table::CreateTableRequest,
        list_tables::ListTablesRequest,
        scan::ScanRequest,
        update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest},
    },
};
use socket2::{SockRef, Socket};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    data::{self, DataDir},
    iam::Permissions,
    server::{self, Limits, guard::guarded},
    template::Table,
};
use engine::Connections;

/// The name of the database's file.
const FILE: &str = "dynamodb.sqlite";
/// The interval of the sweep for expired items.
const SWEEP: Duration = Duration::from_mins(1);

/// Why the database cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The database's file cannot be opened.
    #[error("cannot open the database in {place}: {reason}")]
    Open {
        /// The directory, or `memory`.
        place: String,
        /// The engine's error.
        reason: String,
    },
    /// The engine rejects a table of the template.
    #[error("{table}: DynamoDB rejects the table: {reason}")]
    Table {
        /// The table's name.
        table: String,
        /// The engine's error.
        reason: String,
    },
    /// The port cannot be bound, or not again.
    #[error("cannot listen for DynamoDB")]
    Listen(#[from] std::io::Error),
}

/// The tables, and the server in front of them.
pub(crate) struct Database {
    engine: Engine,
    connections: Connections,
    permissions: Permissions,
    address: SocketAddr,
    server: Mutex<Option<Server>>,
    opened: Contents,
}

/// Whether tables hold items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// No table holds an item.
    Empty,
    /// At least one table holds an item.
    Some,
}

struct Server {
    /// A second handle to the listening socket.
    socket: Socket,
    stop: watch::Sender<bool>,
    stopped: JoinHandle<()>,
}

impl Database {
    /// Opens the database, in a directory or in memory, creates missing tables, and serves it on a free loopback port.
    pub(crate) async fn start(
        data: Option<&DataDir>,
        tables: &[Table],
        permissions: &Permissions,
    ) -> Result<Database, Error> {
        let engine = open(data)?;
        create(&engine, tables)?;
        let opened = contents(&engine, tables)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Connections::new(engine.clone());
        let server = Server::start(listener, &connections, permissions)?;
        Ok(Database {
            engine,
            connections,
            permissions: permissions.clone(),
            address,
            server: Mutex::new(Some(server)),
            opened,
        })
    }

    /// What the tables held when they were opened.
    pub(crate) fn opened(&self) -> Contents {
        self.opened
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Releases the port: requests under way are answered, new connections are refused.
    pub(crate) async fn take_away(&self) {
        if let Some(server) = self.server.lock().await.take() {
            server.stop.send_replace(true);
            // Closing is not enough: a process that is starting at this moment holds a copy of the socket until it
            // executes its own program. A socket that is closed already is no failure.
            let _ = server.socket.shutdown(Shutdown::Both);
            let _ = server.stopped.await;
        }
    }

    /// Serves the same data on the same port again.
    pub(crate) async fn bring_back(&self) -> Result<(), Error> {
        let mut server = self.server.lock().await;
        if server.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            *server = Some(Server::start(listener, &self.connections, &self.permissions)?);
        }
        Ok(())
    }

    /// Deletes expired items once a minute, because the engine does not.
    pub(crate) fn sweeping(&self) -> impl Future<Output = ()> + Send + use<> {
        let engine = self.engine.clone();
        async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let engine = engine.clone();
                // The next sweep deletes what a failed one leaves.
                let _ = tokio::task::spawn_blocking(move || engine.sweep_ttl()).await;
            }
        }
    }
}

impl Server {
    fn start(
        listener: TcpListener,
        connections: &Connections,
        permissions: &Permissions,
    ) -> std::io::Result<Server> {
        let socket = SockRef::from(&listener).try_clone()?;
        let (stop, stopping) = watch::channel(false);
        let router = guarded(permissions.enforced(connections.router()));
        let stopped = tokio::spawn(server::serve(listener, router, Limits::service(), stopping));
        Ok(Server {
            socket,
            stop,
            stopped,
        })
    }
}

fn open(data: Option<&DataDir>) -> Result<Engine, Error> {
    let Some(data) = data else {
        return Engine::memory().map_err(|error| Error::Open {
            place: "memory".into(),
            reason: error.to_string(),
        });
    };
    // SQLite gives its other files the mode of this one.
    let file = data.private(FILE)?;
    data.make_private(FILE)?;
    Engine::new(&file.to_string_lossy()).map_err(|error| Error::Open {
        place: data.path().display().to_string(),
        reason: error.to_string(),
    })
}

fn create(engine: &Engine, tables: &[Table]) -> Result<(), Error> {
    let there = engine
        .list_tables(ListTablesRequest::default())
        .map_err(|error| Error::Open {
            place: "the database".into(),
            reason: error.to_string(),
        })?
        .table_names;
    for table in tables.iter().filter(|table| !there.contains(&table.name)) {
        let refused = |reason: String| Error::Table {
            table: table.name.clone(),
            reason,
        };
        let request: CreateTableRequest =
            serde_json::from_value(table.create.clone()).map_err(|error| refused(error.to_string()))?;
        engine
            .create_table(request)
            .map_err(|error| refused(error.to_string()))?;
        if let Some(attribute) = &table.time_to_live {
            let time_to_live_specification = TimeToLiveSpecification {
                attribute_name: attribute.clone(),
                enabled: true,
            };
            let request = UpdateTimeToLiveRequest {
                table_name: table.name.clone(),
                time_to_live_specification,
            };
            engine
                .update_time_to_live(request)
                .map_err(|error| refused(error.to_string()))?;
        }
    }
    Ok(())
}

fn contents(engine: &Engine, tables: &[Table]) -> Result<Contents, Error> {
    for table in tables {
        let one = ScanRequest {
            table_name: table.name.clone(),
            limit: Some(1),
            ..ScanRequest::default()
        };
        let found = engine.scan(one).map_err(|error| Error::Table {
            table: table.name.clone(),
            reason: error.to_string(),
        })?;
        if found.count > 0 {
            return Ok(Contents::Some);
        }
    }
    Ok(Contents::Empty)
}
