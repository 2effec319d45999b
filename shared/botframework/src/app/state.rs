//! State of people and of conversations, with optimistic concurrency.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::utf8_percent_encode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Error;
use crate::http::{BoxError, BoxFuture, OUTSIDE_UNRESERVED};

/// How often a change is tried while others change the same state.
const MAX_ROUNDS: usize = 10;

/// Stores state. Two methods: read, and write on the condition that the version is the one that was read.
///
/// A version is any text that differs after each write, such as a number. A key is `channel/bot/users/id/name` or
/// `channel/bot/conversations/id/name`, each part percent-encoded, so that a storage can find all states of a person.
pub trait Storage: Send + Sync + 'static {
    /// The state under a key, with its version; `None` if there is none.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<StoredState>, BoxError>> + Send;

    /// Writes the state under a key, or removes it, if the stored version is still `expected`; `None` expects that nothing is
    /// stored.
    fn write(
        &self,
        key: &str,
        state: Option<Value>,
        expected: Option<&str>,
    ) -> impl Future<Output = Result<StateWrite, BoxError>> + Send;
}

/// A state as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredState {
    /// The state as JSON.
    pub value: Value,
    /// Its version.
    pub version: String,
}

/// The result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWrite {
    /// It is written.
    Committed,
    /// Another version is stored: nothing is written.
    Conflict,
}

/// State in the memory of this process, for tests and for bots that may forget. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage(Arc<Mutex<HashMap<String, (Value, u64)>>>);

impl MemoryStorage {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, (Value, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    async fn read(&self, key: &str) -> Result<Option<StoredState>, BoxError> {
        let entries = self.entries();
        let found = entries.get(key).filter(|(value, _)| !value.is_null());
        Ok(found.map(|(value, version)| StoredState {
            value: value.clone(),
            version: version.to_string(),
        }))
    }

    async fn write(
        &self,
        key: &str,
        state: Option<Value>,
        expected: Option<&str>,
    ) -> Result<StateWrite, BoxError> {
        let mut entries = self.entries();
        let entry = entries.entry(key.to_owned()).or_insert((Value::Null, 0));
        let stored = (!entry.0.is_null()).then(|| entry.1.to_string());
        if stored.as_deref() != expected {
            return Ok(StateWrite::Conflict);
        }
        // A removed state keeps its number, so that a version never comes again.
        *entry = (state.unwrap_or_default(), entry.1 + 1);
        Ok(StateWrite::Committed)
    }
}

/// A storage of any kind.
trait DynStorage: Send + Sync {
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredState>, BoxError>>;
    fn write<'a>(
        &'a self,
        key: &'a str,
        state: Option<Value>,
        expected: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateWrite, BoxError>>;
}

impl<S: Storage> DynStorage for S {
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredState>, BoxError>> {
        Box::pin(Storage::read(self, key))
    }

    fn write<'a>(
        &'a self,
        key: &'a str,
        state: Option<Value>,
        expected: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateWrite, BoxError>> {
        Box::pin(Storage::write(self, key, state, expected))
    }
}

/// The storage of an app.
#[derive(Clone)]
pub(super) struct AppStorage(Arc<dyn DynStorage>);

impl AppStorage {
    pub(super) fn new(storage: impl Storage) -> Self {
        Self(Arc::new(storage))
    }

    /// The state under the parts of a key, each percent-encoded.
    pub(super) fn state<T>(&self, parts: &[&str]) -> State<T> {
        let parts = parts
            .iter()
            .map(|part| utf8_percent_encode(part, OUTSIDE_UNRESERVED).to_string());
        State {
            storage: self.clone(),
            key: parts.collect::<Vec<_>>().join("/"),
            value: PhantomData,
        }
    }
}

/// A state of type `T`: of a person or of a conversation. It is read when it is asked for, and written when it is changed; the
/// context of a turn that the bot began has the same one as that of the person's own turns.
///
/// # Example: counting what a person says
/// ```
/// use botframework::app::{App, Context, Error, MemoryStorage};
///
/// async fn count(context: Context) -> Result<String, Error> {
///     let said = context.user_state::<u32>("said")?;
///     said.update(|said| *said += 1).await?;
///     Ok(format!("That was your message number {}.", said.get().await?))
/// }
///
/// fn bot(app: App) -> App {
///     app.storage(MemoryStorage::default()).command("count", count)
/// }
/// ```
pub struct State<T> {
    storage: AppStorage,
    key: String,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + Default> State<T> {
    /// The state; the default if there is none.
    ///
    /// # Errors
    /// When the storage is unavailable, or the stored state has another shape.
    pub async fn get(&self) -> Result<T, Error> {
        self.read().await.map(|(value, _)| value)
    }

    /// Changes the state, and returns what `change` returns. If another turn wrote it after it was read, `change` runs again on the
    /// newer state, so that no change is lost; it should have no other effect.
    ///
    /// # Errors
    /// When the storage is unavailable, the state has another shape, or too many others change it.
    pub async fn update<R>(&self, change: impl Fn(&mut T) -> R) -> Result<R, Error> {
        for _ in 0..MAX_ROUNDS {
            let (mut value, version) = self.read().await?;
            let result = change(&mut value);
            let state = serde_json::to_value(&value).map_err(Error::bot)?;
            if self.write(Some(state), version.as_deref()).await? == StateWrite::Committed {
                return Ok(result);
            }
        }
        Err(Error::bot("the state is changed by too many at once"))
    }

    /// Forgets the state.
    ///
    /// # Errors
    /// When the storage is unavailable, or too many others change it.
    pub async fn delete(&self) -> Result<(), Error> {
        for _ in 0..MAX_ROUNDS {
            let stored = self.storage.0.read(&self.key).await.map_err(Error::bot)?;
            let Some(stored) = stored else { return Ok(()) };
            if self.write(None, Some(&stored.version)).await? == StateWrite::Committed {
                return Ok(());
            }
        }
        Err(Error::bot("the state is changed by too many at once"))
    }

    async fn read(&self) -> Result<(T, Option<String>), Error> {
        match self.storage.0.read(&self.key).await.map_err(Error::bot)? {
            Some(stored) => {
                let value = serde_json::from_value(stored.value).map_err(Error::bot)?;
                Ok((value, Some(stored.version)))
            }
            None => Ok((T::default(), None)),
        }
    }

    async fn write(&self, state: Option<Value>, expected: Option<&str>) -> Result<StateWrite, Error> {
        let written = self.storage.0.write(&self.key, state, expected);
        written.await.map_err(Error::bot)
    }
}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key names a person or a conversation.
        formatter.debug_struct("State").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(storage: &MemoryStorage) -> State<u32> {
        AppStorage::new(storage.clone()).state(&["msteams", "28:bot", "users", "29:ada", "count"])
    }

    #[tokio::test]
    async fn no_change_is_lost_although_another_one_comes_between() {
        let storage = MemoryStorage::default();
        let (ours, theirs) = (counter(&storage), counter(&storage));
        // The first reading is overtaken once.
        let overtaken = std::cell::Cell::new(false);
        let result = ours.update(|count| {
            if !overtaken.replace(true) {
                let mut entries = storage.entries();
                let entry = entries.entry(ours.key.clone()).or_insert((Value::Null, 0));
                *entry = (5.into(), entry.1 + 1);
            }
            *count += 1;
            *count
        });
        assert_eq!(result.await.unwrap(), 6);
        assert_eq!(theirs.get().await.unwrap(), 6);
        theirs.delete().await.unwrap();
        assert_eq!(ours.get().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_version_never_comes_again() {
        let storage = MemoryStorage::default();
        let write = async |state: Option<u32>, expected: Option<&str>| {
            let state = state.map(Value::from);
            Storage::write(&storage, "k", state, expected).await.unwrap()
        };
        assert_eq!(write(Some(1), None).await, StateWrite::Committed);
        assert_eq!(write(Some(2), None).await, StateWrite::Conflict);
        let first = Storage::read(&storage, "k").await.unwrap().unwrap().version;
        assert_eq!(write(None, Some(&first)).await, StateWrite::Committed);
        assert_eq!(write(Some(3), Some(&first)).await, StateWrite::Conflict);
        assert_eq!(write(Some(3), None).await, StateWrite::Committed);
        let again = Storage::read(&storage, "k").await.unwrap().unwrap().version;
        assert_ne!(first, again);
    }

    #[test]
    fn the_parts_of_a_key_cannot_run_into_each_other() {
        let storage = AppStorage::new(MemoryStorage::default());
        let one: State<u32> = storage.state(&["a/b", "c"]);
        let other: State<u32> = storage.state(&["a", "b/c"]);
        assert_ne!(one.key, other.key);
        assert_eq!(format!("{one:?}"), "State { .. }");
    }
}
