//! Backends that a test puts together.

use std::marker::PhantomData;

use herald::backend::Backend;
use herald::event::Events;
use herald::queue::Queue;
use herald::store::memory::Store;
use herald::store::{Conversations, Ledger, Notifications, RateLimits, Registry};

/// The backend of these implementations.
pub struct Assembled<C, N, L, Q, E, R = Store>(PhantomData<(C, N, L, Q, E, R)>);

impl<C, N, L, Q, E, R> std::fmt::Debug for Assembled<C, N, L, Q, E, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assembled")
    }
}

impl<C, N, L, Q, E, R> Backend for Assembled<C, N, L, Q, E, R>
where
    C: Conversations + std::fmt::Debug,
    N: Notifications + std::fmt::Debug,
    L: Ledger + RateLimits + std::fmt::Debug,
    Q: Queue + std::fmt::Debug,
    E: Events + std::fmt::Debug,
    R: Registry + std::fmt::Debug,
{
    type Conversations = C;
    type Notifications = N;
    type Ledger = L;
    type Registry = R;
    type Queue = Q;
    type DeadLetters = herald::queue::memory::Queue;
    type Events = E;
}
