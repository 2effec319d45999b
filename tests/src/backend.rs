//! Backends that a test puts together.

use std::marker::PhantomData;

use herald::backend::Backend;
use herald::event::Events;
use herald::queue::Queue;
use herald::store::memory::Store;
use herald::store::{Conversations, Ledger, Notifications, RateLimits};

/// The backend of these implementations.
pub struct Assembled<C, N, L, Q, E>(PhantomData<(C, N, L, Q, E)>);

impl<C, N, L, Q, E> std::fmt::Debug for Assembled<C, N, L, Q, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assembled")
    }
}

impl<C, N, L, Q, E> Backend for Assembled<C, N, L, Q, E>
where
    C: Conversations + std::fmt::Debug,
    N: Notifications + std::fmt::Debug,
    L: Ledger + RateLimits + std::fmt::Debug,
    Q: Queue + std::fmt::Debug,
    E: Events + std::fmt::Debug,
{
    type Conversations = C;
    type Notifications = N;
    type Ledger = L;
    type Registry = Store;
    type Queue = Q;
    type DeadLetters = herald::queue::memory::Queue;
    type Events = E;
}
