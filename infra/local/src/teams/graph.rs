//! Microsoft Graph: the app catalog, installations for people, and the directory.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::directory::DirectoryRead;
use super::request::{parameter, split_target};
use super::{Place, Refusal, Response, Teams, UnknownTargetPolicy};

/// A request to Graph in a tenant.
#[derive(Clone, Debug)]
pub struct GraphRequest {
    /// The tenant's id.
    pub tenant: String,
    /// Graph's URL as the client reaches it, without a trailing slash.
    pub url: String,
    /// The operation.
    pub operation: GraphOperation,
}

/// An operation of Graph.
#[derive(Clone, Debug)]
pub enum GraphOperation {
    /// Searches the catalog by this filter.
    Catalog {
        /// The `OData` filter.
        filter: String,
    },
    /// Installs an app for a person.
    Install {
        /// The person's Entra object id.
        user: String,
        /// The app's id in the catalog.
        app: String,
    },
    /// The installation of the app for a person.
    Installed {
        /// The person's Entra object id.
        user: String,
    },
    /// The chat of an installation with its person.
    Chat {
        /// The person's Entra object id.
        user: String,
        /// The installation's id.
        installation: String,
    },
    /// People or groups of the directory.
    Directory(DirectoryRead),
}

/// A success of Graph.
#[derive(Clone, Debug)]
pub struct GraphDone {
    /// The response.
    pub response: Response,
    /// The index of the person for whom the bot was installed by this request.
    pub installed: Option<usize>,
}

impl GraphOperation {
    /// Parses a request from its method, its path and query from `/v1.0/` on, and its body.
    ///
    /// # Errors
    /// When the model has no such endpoint.
    pub fn read(method: &str, target: &str, body: &Value) -> Result<GraphOperation, Refusal> {
        let (segments, query) = split_target(target);
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let directory = match (method, segments.as_slice()) {
            ("GET", ["v1.0", rest @ ..]) => DirectoryRead::parse(rest, target, query),
            _ => None,
        };
        if let Some(read) = directory {
            return read.map(GraphOperation::Directory);
        }
        match (method, segments.as_slice()) {
            ("GET", ["v1.0", "appCatalogs", "teamsApps"]) => Ok(GraphOperation::Catalog {
                filter: parameter(query, "$filter").unwrap_or_default(),
            }),
            (_, ["v1.0", "users", user, "teamwork", "installedApps", rest @ ..]) => {
                let user = (*user).to_owned();
                match (method, rest) {
                    ("GET", []) => Ok(GraphOperation::Installed { user }),
                    ("GET", [installation, "chat"]) => Ok(GraphOperation::Chat {
                        user,
                        installation: (*installation).to_owned(),
                    }),
                    ("POST", []) => {
                        let bound = body.get("teamsApp@odata.bind").and_then(Value::as_str);
                        let app = bound.and_then(|bound| bound.rsplit('/').next());
                        Ok(GraphOperation::Install {
                            user,
                            app: app.unwrap_or_default().to_owned(),
                        })
                    }
                    _ => Err(Refusal::NO_ENDPOINT),
                }
            }
            _ => Err(Refusal::new(400, "BadRequest")),
        }
    }

    /// What the operation is about: a person, a group, or a list of the directory.
    pub fn subject(&self) -> Option<&str> {
        match self {
            GraphOperation::Catalog { .. } => None,
            GraphOperation::Directory(read) => Some(read.subject()),
            GraphOperation::Install { user, .. }
            | GraphOperation::Installed { user }
            | GraphOperation::Chat { user, .. } => Some(user),
        }
    }
}

impl fmt::Display for GraphRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            GraphOperation::Catalog { .. } => write!(formatter, "the catalog")?,
            GraphOperation::Directory(read) => write!(formatter, "the people of {}", read.subject())?,
            GraphOperation::Install { user, .. } => write!(formatter, "install for {user}")?,
            GraphOperation::Installed { user } => write!(formatter, "the installation of {user}")?,
            GraphOperation::Chat { user, .. } => write!(formatter, "the chat of {user}")?,
        }
        write!(formatter, " in {}", self.tenant)
    }
}

impl Teams {
    /// Counts a request to Graph against its limit.
    ///
    /// # Errors
    /// When the limit is exceeded.
    pub fn count_at_graph(&mut self, tenant: &str, now: Timestamp) -> Result<(), Refusal> {
        let Teams { tenants, limits, .. } = self;
        let tenant = tenants.iter_mut().find(|known| known.id == tenant);
        let exceeded = tenant.and_then(|tenant| tenant.graph_requests.count(&limits.graph, now));
        exceeded.map_or(Ok(()), |_| {
            Err(Refusal::new(429, "TooManyRequests").retry_after(1))
        })
    }

    /// Executes a request to Graph.
    ///
    /// # Errors
    /// The refusal.
    pub fn graph(&mut self, request: &GraphRequest) -> Result<GraphDone, Refusal> {
        let not_found = Refusal::new(404, "NotFound");
        let tenant = if self.strangers == UnknownTargetPolicy::Created {
            self.tenant(&request.tenant)
        } else {
            let known = self.tenants.iter().position(|tenant| tenant.id == request.tenant);
            known.ok_or(not_found.clone())?
        };
        if self.tenants[tenant].lacks_consent {
            return Err(Refusal::new(403, "Forbidden").saying("Missing role permissions on the request"));
        }
        let app = self.app.clone().filter(|_| !self.tenants[tenant].lacks_app);
        let user = match &request.operation {
            GraphOperation::Catalog { filter } => {
                return Ok(listed(
                    app.filter(|app| self.is_meant(app, filter))
                        .map(|app| json!({ "id": app, "distributionMethod": "organization" })),
                ));
            }
            GraphOperation::Directory(read) => {
                let response = read.carry_out(&self.tenants[tenant], &request.url)?;
                return Ok(GraphDone {
                    response,
                    installed: None,
                });
            }
            GraphOperation::Install { user, .. }
            | GraphOperation::Installed { user }
            | GraphOperation::Chat { user, .. } => user,
        };
        // Guests are not users of this tenant.
        let anywhere = self.strangers == UnknownTargetPolicy::Created;
        let is_meant = |place: &Place| place.is_person(user) && (place.tenant == tenant || anywhere);
        let known = self.places.iter().position(is_meant);
        let number = match known {
            Some(number) => number,
            None if anywhere => {
                let number = self.create_person(tenant, user);
                self.places[number].installed = false;
                number
            }
            None => return Err(not_found),
        };
        let app = app.ok_or(not_found.clone())?;
        let place = &mut self.places[number];
        let id = format!("installation-of-{user}");
        match &request.operation {
            GraphOperation::Install { app: asked, .. } if *asked != app => Err(not_found),
            GraphOperation::Install { .. } if place.forbidden => Err(Refusal::new(403, "Forbidden")),
            GraphOperation::Install { .. } if place.installed => Err(Refusal::new(409, "Conflict")),
            GraphOperation::Install { .. } => {
                (place.installed, place.refusal) = (true, None);
                Ok(GraphDone {
                    response: Response::new(201, Value::Null),
                    installed: Some(number),
                })
            }
            GraphOperation::Installed { .. } => {
                let there = place
                    .installed
                    .then(|| json!({ "id": id, "teamsApp": { "id": app } }));
                Ok(listed(there))
            }
            GraphOperation::Chat { installation, .. } if place.installed && *installation == id => {
                let chat = format!("19:{user}@unq.gbl.spaces");
                self.chats.insert(chat.clone());
                self.names.insert(chat.clone(), number);
                Ok(told(json!({ "id": chat })))
            }
            GraphOperation::Chat { .. } | GraphOperation::Catalog { .. } | GraphOperation::Directory(_) => {
                Err(not_found)
            }
        }
    }

    /// Whether a filter of the catalog matches the app. A store app has the id of its manifest, and matches only by that.
    fn is_meant(&self, app: &str, filter: &str) -> bool {
        let is = |field: &str, id: &str| filter.contains(&format!("{field} eq '{id}'"));
        let by_manifest = is("externalId", &self.manifest) && app != self.manifest;
        by_manifest || filter.starts_with(&format!("id eq '{app}'"))
    }
}

fn listed(found: Option<Value>) -> GraphDone {
    told(json!({ "value": found.into_iter().collect::<Vec<_>>() }))
}

fn told(document: Value) -> GraphDone {
    GraphDone {
        response: Response::new(200, document),
        installed: None,
    }
}
