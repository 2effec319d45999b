//! One process of a function: an execution environment in Lambda's terms.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use axum::body::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    Failure,
    api::Sessions,
    session::{Invocation, Session},
};
use crate::event::{Event, Events};

/// The time-out from the start of a process to its first `next`: Lambda's limit.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The launch settings of a function's processes.
#[derive(Debug)]
pub(super) struct LaunchSpec {
    pub(super) function: String,
    pub(super) arn: String,
    pub(super) binary: PathBuf,
    /// The complete environment: nothing is inherited.
    pub(super) environment: Vec<(String, String)>,
    pub(super) timeout: Duration,
    /// The URL of the Runtime API.
    pub(super) runtime_api: String,
}

/// A running process. Dropping it kills the process. If this host dies, the process ends by itself, because its pending
/// `next` fails with the connection.
#[derive(Debug)]
pub(super) struct Process {
    session: Arc<Session>,
    offer: mpsc::Sender<Invocation>,
    ended: watch::Receiver<Option<String>>,
    kill: mpsc::Sender<String>,
    started: Instant,
}

impl Process {
    /// Starts a process.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub(super) fn start(spec: &LaunchSpec, sessions: &Sessions, events: &Events) -> Result<Process, Failure> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (session, offer) = Session::new(&spec.function, &spec.arn, spec.timeout);
        let session = Arc::new(session);
        // Before the process, which may ask for its first invocation at once.
        sessions.insert(&id, session.clone());
        let child = Command::new(&spec.binary)
            .env_clear()
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                format!("{}/{}/{id}", spec.runtime_api, spec.function),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal is for the host, which ends its functions itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| {
                sessions.remove(&id);
                Failure::Start {
                    binary: spec.binary.display().to_string(),
                    source,
                }
            })?;

        let (kill, killed) = mpsc::channel(1);
        let (end, ended) = watch::channel(None);
        let watcher = ExitWatcher {
            id,
            session: session.clone(),
            sessions: sessions.clone(),
            events: events.clone(),
        };
        tokio::spawn(watcher.watch(child, killed, end));
        Ok(Process {
            session,
            offer,
            ended,
            kill,
            started: Instant::now(),
        })
    }

    /// Waits until the process asks for its first invocation.
    ///
    /// # Errors
    /// When the process ends first, or takes more than ten seconds.
    pub(super) async fn ready(&self, events: &Events) -> Result<(), Failure> {
        tokio::select! {
            () = self.session.ready() => {}
            reason = has_ended(self.ended.clone()) => return Err(Failure::Init(reason)),
            () = sleep(INIT_TIMEOUT) => {
                let reason = format!("it did not ask for an invocation in {INIT_TIMEOUT:?}");
                self.kill(&reason);
                return Err(Failure::Init(reason));
            }
        }
        let (function, after) = (self.session.function.clone(), self.started.elapsed());
        events.tell(&Event::Started { function, after });
        Ok(())
    }

    /// Whether the process still runs.
    pub(super) fn runs(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// A handle that can kill the process without keeping it alive.
    pub(super) fn killer(&self) -> ProcessKiller {
        ProcessKiller {
            kill: self.kill.downgrade(),
            ended: self.ended.clone(),
        }
    }

    /// Hands an invocation to the process and waits for its result, its end, or the time-out, which kills it.
    pub(super) async fn invoke(&self, request_id: &str, payload: Bytes) -> Result<Bytes, Failure> {
        let (handed_over, taken) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            payload,
            handed_over,
            answer,
        };
        let whole = async {
            self.offer.send(invocation).await.ok()?;
            taken.await.ok()?;
            Some(timeout(self.session.timeout, answered).await)
        };
        let outcome = tokio::select! {
            outcome = whole => outcome,
            reason = has_ended(self.ended.clone()) => return Err(Failure::Crashed(reason)),
        };
        match outcome {
            Some(Ok(Ok(answer))) => answer,
            Some(Err(_)) => {
                self.kill(&format!("it timed out after {:?}", self.session.timeout));
                has_ended(self.ended.clone()).await;
                Err(Failure::TimedOut(self.session.timeout))
            }
            Some(Ok(Err(_))) | None => Err(Failure::Crashed(has_ended(self.ended.clone()).await)),
        }
    }

    fn kill(&self, reason: &str) {
        // Full or closed: it is being killed already.
        let _ = self.kill.try_send(reason.to_owned());
    }
}

/// Kills a process that another task owns.
#[derive(Debug)]
pub(super) struct ProcessKiller {
    kill: mpsc::WeakSender<String>,
    ended: watch::Receiver<Option<String>>,
}

impl ProcessKiller {
    /// Whether the process still exists.
    pub(super) fn is_of_use(&self) -> bool {
        self.kill.strong_count() > 0 && self.ended.borrow().is_none()
    }

    /// Kills the process and waits for its end.
    pub(super) async fn kill(self, reason: &str) {
        if let Some(kill) = self.kill.upgrade() {
            // Full or closed: it is being killed already.
            let _ = kill.try_send(reason.to_owned());
        }
        has_ended(self.ended).await;
    }
}

async fn has_ended(mut ended: watch::Receiver<Option<String>>) -> String {
    let reason = ended
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|reason| reason.clone());
    reason.unwrap_or_else(|| "the host stopped".into())
}

/// Waits for the end of a process.
struct ExitWatcher {
    id: String,
    session: Arc<Session>,
    sessions: Sessions,
    events: Events,
}

impl ExitWatcher {
    async fn watch(
        self,
        mut child: Child,
        mut killed: mpsc::Receiver<String>,
        end: watch::Sender<Option<String>>,
    ) {
        let lines = [
            child.stdout.take().map(|stdout| self.forward(stdout)),
            child.stderr.take().map(|stderr| self.forward(stderr)),
        ];
        let ended = tokio::select! {
            status = child.wait() => Ok(status),
            reason = killed.recv() => {
                // An error means that it has ended already.
                let _ = child.kill().await;
                Err(reason)
            }
        };
        for forwarding in lines.into_iter().flatten() {
            // A panic there loses a log line only.
            let _ = forwarding.await;
        }
        let reason = match (ended, self.session.last_words()) {
            (Ok(Ok(status)), Some(words)) => format!("it ended by itself ({status}), last saying: {words}"),
            (Ok(Ok(status)), None) => format!("it ended by itself ({status})"),
            (Ok(Err(error)), _) => format!("it was lost: {error}"),
            (Err(Some(reason)), _) => reason,
            (Err(None), _) => "the host stopped".into(),
        };
        self.sessions.remove(&self.id);
        self.events.tell(&Event::Stopped {
            function: self.session.function.clone(),
            reason: reason.clone(),
        });
        end.send_replace(Some(reason));
    }

    fn forward(&self, output: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let (session, events) = (self.session.clone(), self.events.clone());
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                session.record_last_line(&line);
                events.tell(&Event::Logged {
                    function: session.function.clone(),
                    line,
                });
            }
        })
    }
}
