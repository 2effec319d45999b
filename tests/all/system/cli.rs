//! The command `herald` against the local host, with the real binaries.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use herald_cli::Terminal;
use serde_json::{Value, json};

use super::System;
use crate::world::personal;

/// What the command printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// The text without its colours.
    fn text(&self) -> String {
        let bytes = anstream::adapter::strip_bytes(&self.0.lock().unwrap()).into_vec();
        String::from_utf8(bytes).unwrap()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a command did.
struct Done {
    code: u8,
    out: String,
    err: String,
}

async fn herald(system: &System, arguments: &[&str]) -> Done {
    let (out, err) = (Printed::default(), Printed::default());
    let mut terminal = Terminal {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        shows_progress: false,
    };
    let line = ["herald", "--url", system.host.url()]
        .into_iter()
        .chain(arguments.iter().copied());
    let code = herald_cli::run(line.map(Into::into), &mut terminal).await;
    let code = (0..=9).find(|number| ExitCode::from(*number) == code);
    Done {
        code: code.unwrap_or(u8::MAX),
        out: out.text(),
        err: err.text(),
    }
}

/// The answer of a command that succeeds.
async fn answer(system: &System, arguments: &[&str]) -> String {
    let done = herald(system, arguments).await;
    assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.out, done.err);
    done.out
}

async fn document(system: &System, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    serde_json::from_str(&answer(system, &arguments).await).unwrap()
}

/// A file that is deleted at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn with(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("herald-cli-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn with_people(people: &[&str]) -> System {
    let system = System::start().await;
    for person in people {
        assert_eq!(system.hears(personal(person, "installationUpdate")).await, 200);
    }
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_sent_followed_edited_and_reported() {
    let system = with_people(&["ada", "eve"]).await;
    let done = herald(
        &system,
        &["send", "Build 7 broke.", "--to", "everyone", "--watch"],
    )
    .await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("is completed"), "{}", done.out);
    assert!(
        done.out.contains("2 in the audience: 2 delivered"),
        "{}",
        done.out
    );
    assert_eq!(system.channel.count("a:ada"), 1);

    let listed = document(&system, &["list", "--state", "completed"]).await;
    let id = listed["notifications"][0]["id"].as_str().unwrap().to_owned();
    assert!(answer(&system, &["list"]).await.contains(&id));
    assert!(answer(&system, &["status", &id]).await.contains("accepted"));
    assert!(
        answer(&system, &["explain", &id])
            .await
            .contains("nothing is open")
    );
    let rows = answer(&system, &["deliveries", &id]).await;
    assert_eq!(rows.lines().count(), 3, "{rows}");
    let report = Temporary::with("report.csv", "");
    answer(&system, &["deliveries", &id, "--csv", report.path()]).await;
    let report = std::fs::read_to_string(&report.0).unwrap();
    assert_eq!(report.lines().count(), 3, "{report}");
    assert!(report.starts_with("recipient,kind,"), "{report}");

    answer(&system, &["edit", &id, "Build 7 is fixed."]).await;
    system.host.drained().await;
    let texts = system
        .channel
        .received()
        .into_iter()
        .map(|it| it.activity["text"].clone());
    assert_eq!(texts.filter(|text| text == "Build 7 is fixed.").count(), 2);
    answer(&system, &["retract", &id]).await;
    system.host.drained().await;
    assert_eq!(
        document(&system, &["status", &id]).await["revised"]["retracted"],
        true
    );
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_and_confirmed_and_who_is_missed_fails_the_wait() {
    let system = with_people(&["ada"]).await;
    let plan = answer(
        &system,
        &["send", "hi", "--to", "everyone", "--dry-run", "--watch"],
    )
    .await;
    assert!(plan.contains("would go to 1 recipient."), "{plan}");
    let confirm = plan.lines().last().unwrap().rsplit(' ').next().unwrap();
    answer(
        &system,
        &["send", "hi", "--to", "everyone", "--confirm", confirm, "--watch"],
    )
    .await;

    let missed = herald(
        &system,
        &[
            "send",
            "hi",
            "--to",
            "user:entra-nobody",
            "--tenant",
            "tenant-1",
            "--watch",
        ],
    )
    .await;
    assert_eq!(missed.code, 5, "{}", missed.err);
    assert!(missed.err.contains("1 of 1 did not get it"), "{}", missed.err);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_shown_beside_its_field() {
    let system = with_people(&[]).await;
    let done = herald(&system, &["send", "", "--to", "everyone", "--at", "yesterday"]).await;
    assert_eq!(done.code, 3);
    assert!(done.err.contains("#/deliverAt must be a time"), "{}", done.err);
    assert!(
        done.err
            .contains("\"deliverAt\": \"yesterday\"\n                 ^^^^^^^^^^^"),
        "{}",
        done.err
    );
    assert_eq!(herald(&system, &["status", "ntf_unknown"]).await.code, 3);
    assert_eq!(herald(&system, &["send", "hi", "--to", "somebody"]).await.code, 2);
    let key = ["send", "hi", "--to", "everyone", "--idempotency-key", "a\nb"];
    assert_eq!(herald(&system, &key).await.code, 2, "not sent without its key");
    assert_eq!(herald(&system, &["send", "--to", "everyone"]).await.code, 2);
    assert_eq!(
        herald(&system, &["conversations", "erase", "a:ada"]).await.code,
        2,
        "without --yes"
    );
    let nowhere = herald(&system, &["list", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(nowhere.code, 4);
    assert!(nowhere.err.contains("cannot be reached"), "{}", nowhere.err);
    let file = Temporary::with("no.json", "{");
    assert_eq!(
        herald(&system, &["send", "--card", file.path(), "--to", "everyone"])
            .await
            .code,
        1
    );
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_conversations_and_tags_are_shown_changed_moved_and_erased() {
    let system = with_people(&["ada", "eve"]).await;
    let listed = answer(&system, &["conversations", "list", "--tenant", "tenant-1"]).await;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(
        answer(&system, &["tags", "add", "a:ada", "beta"])
            .await
            .contains("carries beta")
    );
    let tagged = document(&system, &["conversations", "list", "--tag", "beta"]).await;
    assert_eq!(tagged["conversations"].as_array().unwrap().len(), 1);
    assert!(
        answer(&system, &["conversations", "show", "a:ada"])
            .await
            .contains("personal")
    );
    assert!(
        answer(&system, &["tags", "remove", "a:ada", "beta"])
            .await
            .contains("no tag")
    );

    answer(
        &system,
        &[
            "categories",
            "put",
            "news",
            "--title",
            "News",
            "--way-out",
            "line",
        ],
    )
    .await;
    assert!(answer(&system, &["categories", "list"]).await.contains("News"));
    let set = [
        "people",
        "set",
        "entra-ada",
        "--stop",
        "news",
        "--zone",
        "Europe/Berlin",
    ];
    assert!(answer(&system, &set).await.contains("opted out"));
    assert!(
        answer(&system, &["people", "set", "entra-ada", "--quiet", "22:00-07:00"])
            .await
            .contains("Europe/Berlin")
    );
    let shown = answer(&system, &["people", "show", "entra-ada"]).await;
    assert!(shown.contains("news") && shown.contains("22:00-07:00"), "{shown}");
    answer(&system, &["categories", "delete", "news"]).await;

    let exported = answer(&system, &["export", "--tenant", "tenant-1"]).await;
    assert_eq!(exported.lines().count(), 2, "{exported}");
    answer(&system, &["conversations", "erase", "a:eve", "--yes"]).await;
    assert!(
        answer(&system, &["people", "erase", "entra-ada", "--yes"])
            .await
            .contains("with 1 conversation")
    );
    let file = Temporary::with("export.ndjson", &exported);
    let report = document(&system, &["import", file.path()]).await;
    assert_eq!(
        (&report["imported"], &report["refusedCount"]),
        (&json!(2), &json!(0)),
        "{report}"
    );
    let wrong = Temporary::with("wrong.ndjson", "{\"a\": 1}\n");
    let refused = herald(&system, &["import", wrong.path()]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.out.contains("line 1: conversation.id"), "{}", refused.out);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_routes_and_hooks_are_written_and_used() {
    let system = with_people(&["ada"]).await;
    let schedule = json!({"cron": "0 9 * * *", "zone": "Europe/Berlin",
        "notification": {"audience": {"everyone": true}, "message": {"text": "Good morning!"}}});
    let schedule = Temporary::with("schedule.json", &schedule.to_string());
    let written = answer(&system, &["schedules", "put", "mornings", schedule.path()]).await;
    assert_eq!(written.matches("next  ").count(), 5, "{written}");
    assert!(
        answer(&system, &["schedules", "pause", "mornings"])
            .await
            .contains("paused")
    );
    answer(&system, &["schedules", "resume", "mornings"]).await;
    assert!(
        answer(&system, &["schedules", "skip", "mornings"])
            .await
            .contains("skipped")
    );
    assert!(
        answer(&system, &["schedules", "list"])
            .await
            .contains("0 9 * * *")
    );
    answer(&system, &["schedules", "delete", "mornings"]).await;

    let route = json!({"pattern": {"detail-type": ["Build failed"]}, "audience": {"everyone": true},
        "message": {"text": "${detail.build} broke."}});
    let route = Temporary::with("route.json", &route.to_string());
    answer(&system, &["routes", "put", "builds", route.path()]).await;
    let event =
        json!({"id": "1", "source": "ci", "detail-type": "Build failed", "detail": {"build": "Build 7"}});
    let event = Temporary::with("event.json", &event.to_string());
    let tested = answer(&system, &["routes", "test", "builds", event.path()]).await;
    assert!(tested.contains("Build 7 broke."), "{tested}");
    assert!(answer(&system, &["routes", "list"]).await.contains("builds"));
    answer(&system, &["routes", "delete", "builds"]).await;

    let address = answer(&system, &["hooks", "create", "alerts", "--to", "everyone"]).await;
    let path = address.trim().strip_prefix(system.host.url()).unwrap().to_owned();
    assert_eq!(
        system.post(&path, json!({"text": "posted"}).to_string()).await.0,
        200
    );
    system.host.drained().await;
    assert_eq!(system.channel.count("a:ada"), 1);
    let hooks = document(&system, &["hooks", "list"]).await;
    let id = hooks["hooks"][0]["id"].as_str().unwrap();
    assert_ne!(answer(&system, &["hooks", "rotate", id]).await, address);
    answer(&system, &["hooks", "delete", id]).await;
    assert!(
        answer(&system, &["events", "failed"])
            .await
            .starts_with("failed at")
    );
    assert!(answer(&system, &["events", "redrive"]).await.contains("0 events"));
    let raw = answer(&system, &["call", "get", "/api/notifications?limit=1"]).await;
    assert!(raw.contains("\"caller\":\"hook:"), "{raw}");
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_template_is_previewed_and_sent_with_data() {
    let system = with_people(&["ada"]).await;
    let template = json!({"message": {"text": "Build ${number} broke."}, "description": "A build"});
    let template = Temporary::with("template.json", &template.to_string());
    answer(&system, &["templates", "put", "build", template.path()]).await;
    assert!(answer(&system, &["templates", "list"]).await.contains("build"));
    assert!(
        answer(&system, &["templates", "show", "build"])
            .await
            .contains("${number}")
    );
    let data = Temporary::with("data.json", r#"{"number": 7}"#);
    let send = [
        "send",
        "--template",
        "build",
        "--data",
        data.path(),
        "--to",
        "user:entra-ada",
    ];
    let shown = answer(&system, &[&send[..], &["--preview"]].concat()).await;
    assert!(shown.contains("Build 7 broke."), "{shown}");
    answer(&system, &[&send[..], &["--watch"]].concat()).await;
    assert_eq!(
        system.channel.received().pop().unwrap().activity["text"],
        "Build 7 broke."
    );
    answer(&system, &["templates", "delete", "build"]).await;
    assert_eq!(herald(&system, &send).await.code, 3, "there is no such template");
    system.host.stop().await;
}

#[test]
fn completions_and_the_manual_name_every_verb() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let printed = |arguments: &[&str]| {
        let out = Printed::default();
        let mut terminal = Terminal {
            out: Box::new(out.clone()),
            err: Box::new(io::sink()),
            shows_progress: false,
        };
        let line = ["herald"]
            .iter()
            .chain(arguments)
            .map(|argument| (*argument).into());
        let code = runtime.block_on(herald_cli::run(line, &mut terminal));
        assert_eq!(code, ExitCode::SUCCESS, "{arguments:?}");
        out.text()
    };
    let texts = [
        printed(&["completion", "bash"]),
        printed(&["completion", "zsh"]),
        printed(&["man"]),
        printed(&["--help"]),
    ];
    for verb in [
        "send",
        "explain",
        "deliveries",
        "conversations",
        "schedules",
        "import",
    ] {
        assert!(texts.iter().all(|text| text.contains(verb)), "{verb}");
    }
}
