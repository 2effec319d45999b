//! Graph's published rate limits for Teams, as of 2026 (`PROTOCOL.md#e`). The client does not enforce them. They may
//! change, so callers must also handle [`Reason::Throttled`](super::Reason::Throttled).
//!
//! Each request inside a `$batch` counts. At 30 a second, 100,000 installations take an hour.

/// A limit for one kind of request, per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestsPerSecond {
    /// Of one app in one tenant.
    pub per_tenant: u32,
    /// Of one app in all tenants together.
    pub per_app: u32,
}

/// [`catalog_app`](super::Graph::catalog_app), [`store_app`](super::Graph::store_app), [`installation`](super::Graph::installation) and each of
/// [`installations`](super::Graph::installations).
pub const READ: RequestsPerSecond = RequestsPerSecond {
    per_tenant: 30,
    per_app: 600,
};

/// [`install_for_user`](super::Graph::install_for_user) and [`install_in_team`](super::Graph::install_in_team).
pub const INSTALL: RequestsPerSecond = RequestsPerSecond {
    per_tenant: 30,
    per_app: 300,
};

/// [`uninstall`](super::Graph::uninstall).
pub const UNINSTALL: RequestsPerSecond = RequestsPerSecond {
    per_tenant: 15,
    per_app: 150,
};

/// [`chat`](super::Graph::chat).
pub const CHAT: RequestsPerSecond = RequestsPerSecond {
    per_tenant: 30,
    per_app: 1500,
};

/// Requests of one app about one team, of every kind together, per second.
pub const ONE_TEAM: u32 = 4;

/// Requests of one app to all of Graph, per ten seconds.
pub const ALL_IN_TEN_SECONDS: u32 = 130_000;

/// The most requests in one `$batch`.
pub const BATCH: usize = 20;

/// The most people on a page of [`people`](super::Graph::people). Graph may return fewer.
pub const PAGE: usize = 999;

/// The most values of an `in` filter, such as those of [`users_by_name`](super::Graph::users_by_name).
pub const FILTER_VALUES: usize = 15;
