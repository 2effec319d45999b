use super::*;

macro_rules! fixture {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            "../../../../../tests/fixtures/hooks/",
            $name
        )))
        .unwrap()
    };
}

fn translated(body: &Value) -> (Value, Option<Priority>) {
    with(body, SenderHeaders::default())
}

fn with(body: &Value, headers: SenderHeaders<'_>) -> (Value, Option<Priority>) {
    match translate(&body.clone().into(), headers).unwrap() {
        Translation::Message { message, priority } => {
            assert!(is_accepted(&message), "{message}");
            (message.value, priority)
        }
        Translation::Nothing => panic!("{body} is worth a message"),
    }
}

/// Whether the message is one that a notification takes.
fn is_accepted(message: &LosslessJson) -> bool {
    let request = json!({"audience": {"everyone": true}, "message": message.value});
    crate::notification::request::Request::parse(&request.into(), jiff::Timestamp::UNIX_EPOCH).is_ok()
}

/// All texts of a card, in order.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(members) => {
            let own = ["text", "title", "value", "url"];
            let own = own
                .iter()
                .filter_map(|name| Some(members.get(*name)?.as_str()?.to_owned()));
            own.chain(members.values().flat_map(texts)).collect()
        }
        _ => Vec::new(),
    }
}

fn github(event: &str, body: &Value) -> String {
    let headers = SenderHeaders {
        github_event: Some(event),
        ..SenderHeaders::default()
    };
    with(body, headers).0["text"].as_str().unwrap().to_owned()
}

fn gitlab(body: &Value) -> String {
    let headers = SenderHeaders {
        gitlab_event: Some("Some Hook"),
        ..SenderHeaders::default()
    };
    with(body, headers).0["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_text_is_the_message() {
    let (message, priority) = translated(&json!({"text": "The disk is **full**"}));
    assert_eq!(
        (message, priority),
        (json!({"text": "The disk is **full**"}), None)
    );
}

#[test]
fn a_message_of_cards_stays_as_it_is() {
    let body = r#"{"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": {"type": "AdaptiveCard", "version": "1.2", "body": [{"type": "TextBlock", "text": "hi", "x-novel": 1.10}]}}]}"#;
    let body = LosslessJson::from_slice(body.as_bytes()).unwrap();
    let Translation::Message { message, .. } = translate(&body, SenderHeaders::default()).unwrap() else {
        panic!("it is a message");
    };
    assert!(message.to_string().contains("1.10"));
    assert!(is_accepted(&message), "{message}");
    let card = body.value["attachments"][0]["content"].clone();
    assert_eq!(translated(&card).0["attachments"][0]["content"], card);
}

#[test]
fn alertmanagers_alerts_are_one_card() {
    let (message, priority) = translated(&fixture!("alertmanager.json"));
    assert_eq!(priority, Some(Priority::Urgent));
    assert_eq!(message["summary"], "[FIRING:2] DiskWillFillIn4Hours");
    let texts = texts(&message["attachments"]);
    for text in [
        "**firing** DiskWillFillIn4Hours",
        "/var of db-1 is full in four hours",
        "db-2.invented.example:9100",
        "https://runbooks.invented.example/disk",
        "https://alertmanager.invented.example",
    ] {
        assert!(texts.iter().any(|one| one == text), "{text} in {texts:?}");
    }
    assert_eq!(
        message["attachments"][0]["content"]["body"][0]["color"],
        "attention"
    );
    let mut resolved = fixture!("alertmanager.json");
    resolved["status"] = json!("resolved");
    let (message, priority) = translated(&resolved);
    assert_eq!(priority, None);
    assert_eq!(message["attachments"][0]["content"]["body"][0]["color"], "good");
    assert_eq!(message["summary"], "[RESOLVED:2] DiskWillFillIn4Hours");
}

#[test]
fn many_alerts_are_cut_and_counted() {
    let mut many = fixture!("alertmanager.json");
    let alert = many["alerts"][0].clone();
    many["alerts"] = Value::Array(vec![alert; 25]);
    many["truncatedAlerts"] = json!(3);
    let (message, _) = translated(&many);
    assert!(texts(&message).contains(&"and 18 more".to_owned()));
    assert!(
        message.to_string().len() < 24_000,
        "{}",
        message.to_string().len()
    );
}

#[test]
fn grafanas_alerts_have_its_title_values_and_links() {
    let (message, _) = translated(&fixture!("grafana.json"));
    assert_eq!(message["summary"], "[FIRING:1]  (blue)");
    let texts = texts(&message["attachments"]);
    for text in [
        "This alert was triggered for zone us-1",
        "The system has high memory usage",
        "https://play.grafana.invented.example/d/invented?viewPanel=2",
        "us-1",
    ] {
        assert!(texts.iter().any(|one| one == text), "{text} in {texts:?}");
    }
    assert!(!texts.iter().any(|text| text.contains("__alert_rule_uid__")));
}

#[test]
fn a_message_card_becomes_an_adaptive_card() {
    let (message, _) = translated(&fixture!("message-card.json"));
    assert_eq!(message["summary"], "Build 7 of lending failed");
    let card = &message["attachments"][0]["content"];
    assert_eq!(card["body"][0]["text"], "Build failed");
    assert_eq!(card["body"][0]["color"], "attention");
    let texts = texts(card);
    for text in [
        "lending #7",
        "started by Grace",
        "Two tests failed",
        "Branch",
        "main",
    ] {
        assert!(texts.iter().any(|one| one == text), "{text} in {texts:?}");
    }
    assert_eq!(
        card["actions"],
        json!([
            {"type": "Action.OpenUrl", "title": "Log", "url": "https://ci.invented.example/7"},
            {"type": "Action.OpenUrl", "title": "Changes", "url": "https://ci.invented.example/7/changes"},
        ])
    );
    let plain = translated(&json!({"@context": "https://schema.org/extensions", "text": "hi"})).0;
    assert_eq!(plain["summary"], "hi");
}

#[test]
fn githubs_events_are_one_line() {
    assert_eq!(
        github("push", &fixture!("github-push.json")),
        "[library/lending](https://github.invented.example/library/lending): grace pushed [2 commits](https://github.invented.example/library/lending/compare/6113728f27ae...000000000007) to main: lending: books come back"
    );
    assert_eq!(
        github("pull_request", &fixture!("github-pull-request.json")),
        "[library/lending](https://github.invented.example/library/lending): ada merged [#12 Shelves  new ](https://github.invented.example/library/lending/pull/12)"
    );
    let run = json!({"action": "completed", "workflow_run": {"name": "tests", "head_branch": "main",
                     "conclusion": "timed_out", "html_url": "https://github.invented.example/r/1"},
                     "repository": {"full_name": "a/b", "html_url": ""}});
    assert_eq!(
        github("workflow_run", &run),
        "a/b: [tests](https://github.invented.example/r/1) on main: timed out"
    );
    for (event, body) in [
        ("ping", json!({"zen": "Anything added dilutes everything else."})),
        ("star", json!({"action": "created"})),
        ("push", json!({"commits": []})),
        ("pull_request", json!({"action": "labeled"})),
    ] {
        let headers = SenderHeaders {
            github_event: Some(event),
            ..SenderHeaders::default()
        };
        assert_eq!(
            translate(&body.into(), headers),
            Ok(Translation::Nothing),
            "{event}"
        );
    }
}

#[test]
fn gitlabs_events_are_one_line() {
    assert_eq!(
        gitlab(&fixture!("gitlab-pipeline.json")),
        "[library/lending](https://gitlab.invented.example/library/lending): [pipeline](https://gitlab.invented.example/library/lending/-/pipelines/31) on main: failed"
    );
    assert_eq!(
        gitlab(&fixture!("gitlab-merge-request.json")),
        "[library/lending](https://gitlab.invented.example/library/lending): Ada: open [!5 New shelves](https://gitlab.invented.example/library/lending/-/merge_requests/5)"
    );
}

#[test]
fn slacks_blocks_map_as_far_as_they_can() {
    let (message, _) = translated(&fixture!("slack.json"));
    assert_eq!(message["summary"], "Deployment of lending");
    let texts = texts(&message["attachments"]);
    for text in [
        "Deployed",
        "**lending** is at [build 7](https://ci.invented.example/7) & ~~old~~ is gone, @here",
        "by grace",
        "https://lending.invented.example",
    ] {
        assert!(texts.iter().any(|one| one == text), "{text} in {texts:?}");
    }
    let attachment = json!({"attachments": [{"fallback": "it broke", "color": "danger", "title": "Build 7",
        "title_link": "https://ci.invented.example/7", "text": "2 * 3 is *six*", "fields": [{"title": "Branch", "value": "main"}]}]});
    let (message, _) = translated(&attachment);
    assert_eq!(message["summary"], "it broke");
    let texts = self::texts(&message);
    assert!(
        texts.contains(&"**[Build 7](https://ci.invented.example/7)**".to_owned()),
        "{texts:?}"
    );
    assert!(texts.contains(&"2 * 3 is **six**".to_owned()), "{texts:?}");
}

#[test]
fn what_is_no_payload_is_refused() {
    for body in [
        json!({}),
        json!({"text": " "}),
        json!([1]),
        json!("hi"),
        json!({"blocks": []}),
        json!({"@type": "MessageCard"}),
        json!({"alert": "x"}),
    ] {
        let refused = translate(&body.clone().into(), SenderHeaders::default());
        assert_eq!(refused.map_err(|problem| problem.status), Err(400), "{body}");
    }
}
