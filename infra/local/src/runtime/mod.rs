//! Lambda: functions as processes under the Runtime API.
//!
//! A process serves one invocation at a time. If all processes of a function are busy, another one starts, up to the
//! host's limit; then invocations wait. A process is killed at its time-out. After a crash the next invocation starts
//! another process, with exponential back-off if starts fail repeatedly.

mod api;
mod process;
mod session;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    event::{Event, Events},
    iam, template,
};
use api::Sessions;
use process::{LaunchSpec, Process, ProcessKiller};

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such function.
    #[error("there is no function {0}")]
    NoSuchFunction(String),
    /// The binary cannot be started.
    #[error("cannot start {binary}")]
    Start {
        /// The binary's path.
        binary: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The process ended before it asked for its first invocation.
    #[error("process did not start: {0}")]
    Init(String),
    /// The function exceeded its time-out.
    #[error("timed out after {0:?}")]
    TimedOut(Duration),
    /// The process ended before the function responded.
    #[error("process ended: {0}")]
    Crashed(String),
    /// The function returned an error.
    #[error("{kind}: {message}")]
    Handler {
        /// The error type, which alarms filter on.
        kind: String,
        /// The error message.
        message: String,
    },
}

/// The functions of the stack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Functions {
    by_name: Arc<BTreeMap<String, Function>>,
    sessions: Sessions,
    events: Events,
}

#[derive(Debug)]
struct Function {
    spec: LaunchSpec,
    concurrency: usize,
    permits: Semaphore,
    idle: Mutex<Vec<Process>>,
    process_killers: Mutex<Vec<ProcessKiller>>,
    /// Consecutive failed starts.
    failed_starts: AtomicU32,
}

/// The settings of all functions.
pub(crate) struct FunctionEnv<'a> {
    /// The directory of the binaries, which have the functions' names.
    pub(crate) binaries: &'a Path,
    /// The most processes of one function.
    pub(crate) concurrency: usize,
    /// Variables in addition to the template's and Lambda's own.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// The URL of the Runtime API, without a trailing slash.
    pub(crate) runtime_api: &'a str,
    pub(crate) location: &'a template::AwsLocation,
}

impl Functions {
    pub(crate) fn new(functions: &[template::Function], env: &FunctionEnv<'_>, events: Events) -> Functions {
        let by_name = functions
            .iter()
            .map(|function| (function.name.clone(), Function::new(function, env)))
            .collect();
        Functions {
            by_name: Arc::new(by_name),
            sessions: Sessions::default(),
            events,
        }
    }

    /// The Runtime API, for the functions' processes.
    pub(crate) fn runtime_api(&self) -> Router {
        api::router(self.sessions.clone())
    }

    /// The functions' names.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// The variables of each function, without those that Lambda sets itself: another host of the same binaries needs
    /// them.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let all = self
            .by_name
            .values()
            .flat_map(|function| function.spec.environment.clone());
        all.filter(|(name, _)| !name.starts_with("AWS_LAMBDA_") && !name.starts_with("LAMBDA_"))
            .collect()
    }

    pub(crate) fn concurrency(&self, function: &str) -> usize {
        self.by_name
            .get(function)
            .map_or(1, |function| function.concurrency)
    }

    /// Starts one process of each function, concurrently, so a binary that cannot run is reported at once.
    ///
    /// # Errors
    /// The name and the failure of the first function that does not start.
    pub(crate) async fn warm(&self) -> Result<(), (String, Failure)> {
        let mut starting = JoinSet::new();
        for name in self.names() {
            let functions = self.clone();
            starting.spawn(async move {
                let started = functions.start(&name).await;
                started.map_err(|failure| (name, failure))
            });
        }
        while let Some(started) = starting.join_next().await {
            // A start that panicked fails again at the function's first invocation.
            if let Ok(started) = started {
                started?;
            }
        }
        Ok(())
    }

    async fn start(&self, name: &str) -> Result<(), Failure> {
        let function = self.function(name)?;
        let process = function.start(&self.sessions, &self.events).await?;
        function.rest(process);
        Ok(())
    }

    /// Invokes a function and waits for its result. Dropping the future does not end the invocation.
    ///
    /// # Errors
    /// When the function fails, crashes, or runs out of time.
    pub async fn invoke(&self, function: &str, payload: Bytes) -> Result<Bytes, Failure> {
        let (functions, name) = (self.clone(), function.to_owned());
        match tokio::spawn(async move { functions.invoke_here(&name, payload).await }).await {
            Ok(answer) => answer,
            Err(error) => Err(Failure::Crashed(error.to_string())),
        }
    }

    async fn invoke_here(&self, name: &str, payload: Bytes) -> Result<Bytes, Failure> {
        let function = self.function(name)?;
        let Ok(_permit) = function.permits.acquire().await else {
            return Err(Failure::Crashed("the host stopped".into()));
        };
        let process = match function.wake() {
            Some(process) => process,
            None => function.start(&self.sessions, &self.events).await?,
        };
        let request_id = uuid::Uuid::new_v4().to_string();
        self.events.tell(&Event::Invoked {
            function: name.to_owned(),
            request_id: request_id.clone(),
        });
        let start = Instant::now();
        let answer = process.invoke(&request_id, payload).await;
        self.events.tell(&Event::Finished {
            function: name.to_owned(),
            request_id,
            failure: answer.as_ref().err().map(ToString::to_string),
            elapsed: start.elapsed(),
        });
        function.rest(process);
        answer
    }

    /// Kills all processes of a function, busy or not, waits for their end, and returns their number.
    ///
    /// # Errors
    /// When there is no such function.
    pub async fn kill(&self, function: &str, reason: &str) -> Result<usize, Failure> {
        let process_killers = self.function(function)?.process_killers();
        let count = process_killers.len();
        for killer in process_killers {
            killer.kill(reason).await;
        }
        Ok(count)
    }

    /// Accepts no more invocations and kills all processes.
    pub(crate) async fn stop(&self) {
        let mut ending = JoinSet::new();
        for function in self.by_name.values() {
            function.permits.close();
            for killer in function.process_killers() {
                ending.spawn(killer.kill("the host stopped"));
            }
        }
        ending.join_all().await;
    }

    fn function(&self, name: &str) -> Result<&Function, Failure> {
        self.by_name
            .get(name)
            .ok_or_else(|| Failure::NoSuchFunction(name.to_owned()))
    }
}

impl Function {
    fn new(function: &template::Function, env: &FunctionEnv<'_>) -> Function {
        let location = env.location;
        let spec = LaunchSpec {
            function: function.name.clone(),
            arn: location.arn("lambda", &format!("function:{}", function.name)),
            binary: env.binaries.join(&function.name),
            environment: environment(function, env),
            timeout: function.timeout,
            runtime_api: env.runtime_api.to_owned(),
        };
        Function {
            spec,
            concurrency: env.concurrency,
            permits: Semaphore::new(env.concurrency),
            idle: Mutex::default(),
            process_killers: Mutex::default(),
            failed_starts: AtomicU32::new(0),
        }
    }

    /// The process that became idle last and still runs.
    fn wake(&self) -> Option<Process> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(Process::runs);
        idle.pop()
    }

    fn rest(&self, process: Process) {
        if process.runs() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(process);
        }
    }

    /// Handles of the running processes.
    fn process_killers(&self) -> Vec<ProcessKiller> {
        let mut process_killers = self
            .process_killers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        process_killers
            .drain(..)
            .filter(ProcessKiller::is_of_use)
            .collect()
    }

    async fn start(&self, sessions: &Sessions, events: &Events) -> Result<Process, Failure> {
        sleep(back_off(self.failed_starts.load(Ordering::Relaxed))).await;
        let process = Process::start(&self.spec, sessions, events)?;
        {
            let mut process_killers = self
                .process_killers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            process_killers.retain(ProcessKiller::is_of_use);
            process_killers.push(process.killer());
        }
        match process.ready(events).await {
            Ok(()) => self.failed_starts.store(0, Ordering::Relaxed),
            Err(failure) => {
                self.failed_starts.fetch_add(1, Ordering::Relaxed);
                return Err(failure);
            }
        }
        Ok(process)
    }
}

/// The wait before a start after so many failed ones: 0, 100 ms, 200 ms … 3.2 s.
fn back_off(failed_starts: u32) -> Duration {
    match failed_starts {
        0 => Duration::ZERO,
        failed => Duration::from_millis(100 << (failed - 1).min(5)),
    }
}

/// The variables of Lambda, the template and the host. The environment of this process is not inherited.
///
/// `AWS_LAMBDA_INITIALIZATION_TYPE` is omitted: functions detect the real Lambda by it, where they refuse to run without
/// authentication.
fn environment(function: &template::Function, env: &FunctionEnv<'_>) -> Vec<(String, String)> {
    let location = env.location;
    let lambda = [
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string()),
        (
            "AWS_LAMBDA_LOG_GROUP_NAME",
            format!("/aws/lambda/{}", function.name),
        ),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local".into()),
        ("AWS_REGION", location.region.clone()),
        ("AWS_DEFAULT_REGION", location.region.clone()),
        // Invented credentials: the services of this host check no signatures, but know the function by its key.
        ("AWS_ACCESS_KEY_ID", iam::access_key(&function.name)),
        ("AWS_SECRET_ACCESS_KEY", "local".into()),
        ("AWS_SESSION_TOKEN", "local".into()),
        ("LAMBDA_TASK_ROOT", env.binaries.display().to_string()),
        ("TZ", ":UTC".into()),
    ];
    let mut whole: BTreeMap<String, String> = lambda
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    whole.extend(function.environment.clone());
    whole.extend(env.environment.clone());
    whole.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_never_starts_is_started_more_and_more_seldom() {
        let waits: Vec<u128> = (0..9).map(|failed| back_off(failed).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 3200, 3200]);
    }
}
