//! The console: which files are served, with which headers, and what stands beside them about where they come from.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use botframework::cards::notification::NotificationCard;
use flate2::read::GzDecoder;
use lambda_http::http::{Request, StatusCode};
use lambda_http::{Body, Response};
use notify::ConsoleSignIn;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::world::{World, document, text};

/// The most that all files take, compressed, in bytes.
const SIZE_MAX: usize = 400 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/notify/console")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The names of the folder's files with one of these extensions.
fn names(extensions: &[&str]) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| extensions.iter().any(|one| name.ends_with(&format!(".{one}"))))
        .collect()
}

/// The modules of the page that are ours.
fn own_modules() -> Vec<(String, String)> {
    let own = names(&["js"])
        .into_iter()
        .filter(|name| !name.starts_with("vendor-"));
    own.map(|name| (name.clone(), read(&name))).collect()
}

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| {
        request.header(*name, *value)
    });
    world.notify(request.body(Body::Empty).unwrap()).await
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn each_file_is_served_as_it_stands_in_the_folder() {
    let world = World::new();
    let served: BTreeSet<String> = notify::console_files().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(served, names(&["css", "html", "js", "svg"]));
    for name in &served {
        let path = if name == "index.html" {
            "/console".to_owned()
        } else {
            format!("/console/{name}")
        };
        let plain = get(&world, &path, &[]).await;
        assert_eq!(plain.status(), StatusCode::OK, "{name}");
        assert_eq!(text(&plain), read(name), "{name}");
        assert_eq!(header(&plain, "content-encoding"), "", "{name}");
        let expected = match name.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "html" => "text/html; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        assert_eq!(header(&plain, "content-type"), expected, "{name}");

        let compressed = get(&world, &path, &[("accept-encoding", "br, gzip;q=0.9")]).await;
        assert_eq!(header(&compressed, "content-encoding"), "gzip", "{name}");
        let mut unpacked = String::new();
        GzDecoder::new(&compressed.body()[..])
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, read(name), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let world = World::new();
    let first = get(&world, "/console/app.js", &[]).await;
    let etag = header(&first, "etag");
    assert!(etag.starts_with("W/\""), "{etag}");
    assert_eq!(header(&first, "cache-control"), "no-cache");
    for known in [etag.to_owned(), format!("\"x\", {etag}")] {
        let again = get(&world, "/console/app.js", &[("if-none-match", &known)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(again.body().is_empty());
        assert_eq!(header(&again, "etag"), etag);
    }
    let other = get(&world, "/console/style.css", &[("if-none-match", etag)]).await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_file_of_the_page_is_not_found() {
    let world = World::new();
    for path in ["/console/README.md", "/console/nothing.js", "/console/a/b"] {
        assert_eq!(
            get(&world, path, &[]).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_page_may_load_its_own_files_only_and_ask_the_issuer_of_tokens() {
    let mut world = World::new();
    let policy = "default-src 'self'; connect-src 'self' ; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for path in ["/console", "/console/app.js", "/console/config.json"] {
        let answer = get(&world, path, &[]).await;
        assert_eq!(header(&answer, "content-security-policy"), policy, "{path}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&answer, "referrer-policy"), "no-referrer", "{path}");
    }
    assert_eq!(
        document(&get(&world, "/console/config.json", &[]).await),
        serde_json::json!({})
    );

    world.console = ConsoleSignIn {
        issuer: Some("https://login.example:8443/tenant/v2.0".to_owned()),
        client_id: Some("client".to_owned()),
        scope: Some("api://herald/.default".to_owned()),
    };
    let answer = get(&world, "/console/config.json", &[]).await;
    let with_issuer = policy.replace("'self' ;", "'self' https://login.example:8443;");
    assert_eq!(header(&answer, "content-security-policy"), with_issuer);
    assert_eq!(
        document(&answer),
        serde_json::json!({"issuer": "https://login.example:8443/tenant/v2.0", "clientId": "client", "scope": "api://herald/.default"})
    );
}

#[tokio::test]
async fn the_answer_of_an_issuer_in_the_query_leads_to_the_page() {
    let world = World::new();
    let answer = get(&world, "/console?code=0.x&state=s&session_state=t", &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text(&answer), read("index.html"));
}

#[test]
fn an_issuer_that_is_no_https_address_is_refused_at_the_start() {
    for (issuer, is_taken) in [
        ("https://login.example/tenant/v2.0", true),
        ("http://login.example/", false),
        ("https://login.example; script-src *", false),
        ("https:///tenant", false),
    ] {
        let started = |client: &str| {
            let environment = herald::config::Environment::from_fn(|name| match name {
                "HERALD_CONSOLE_ISSUER" => Some(issuer.to_owned()),
                "HERALD_CONSOLE_CLIENT_ID" => Some(client.to_owned()),
                _ => None,
            });
            ConsoleSignIn::from_environment(&environment)
        };
        assert_eq!(started("client").is_ok(), is_taken, "{issuer}");
        assert_eq!(started("").unwrap(), ConsoleSignIn::default(), "without a client");
    }
}

#[test]
fn all_files_together_are_small() {
    let sizes = notify::console_files().map(|(_, bytes)| bytes);
    let sum: usize = sizes.sum();
    assert!(sum <= SIZE_MAX, "{sum} bytes compressed, at most {SIZE_MAX}");
}

#[test]
fn vendored_files_are_those_that_the_readme_names() {
    let readme = read("README.md");
    let vendored: Vec<String> = names(&["js"])
        .into_iter()
        .filter(|name| name.starts_with("vendor-"))
        .collect();
    assert!(!vendored.is_empty());
    for name in vendored {
        let bytes = std::fs::read(folder().join(&name)).unwrap();
        let digest = digest(&SHA256, &bytes)
            .as_ref()
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let row = readme.lines().find(|line| line.contains(&format!("`{name}`")));
        assert!(row.is_some_and(|row| row.contains(&digest)), "{name}: {digest}");
    }
}

#[test]
fn the_page_has_no_inline_code_and_asks_no_other_host() {
    let page = read("index.html");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("onclick"));
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=\"/console/").count()
    );
    for (name, module) in own_modules() {
        for found in ["eval(", "new Function", "style=", "document.write"] {
            assert!(!module.contains(found), "{name}: {found}");
        }
        for import in module.split(" from \"").skip(1) {
            assert!(
                import.starts_with("./"),
                "{name}: {}",
                import.lines().next().unwrap()
            );
        }
    }
}

/// The keys of a table of texts, in their order.
fn keys(language: &str) -> Vec<String> {
    let table = read(&format!("text-{language}.js"));
    let lines = table.lines().filter_map(|line| line.trim().strip_prefix('"'));
    lines
        .filter_map(|line| line.split_once("\": "))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn each_language_has_the_same_texts_and_each_text_is_used() {
    let english = keys("en");
    assert!(english.len() > 300, "{}", english.len());
    assert_eq!(english, keys("de"));
    let known: BTreeSet<&str> = english.iter().map(String::as_str).collect();
    let all: String = own_modules()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("text-"))
        .map(|(_, module)| module)
        .collect();
    // Texts are named whole, `"sent.empty"`, or by a group and a word of the API: `state.${…}`, or the `kind` of a word.
    for key in &known {
        let group = key.split('.').next().unwrap();
        let by_word = key
            .match_indices('.')
            .map(|(at, _)| format!("{}.${{", &key[..at]));
        let mut ways = by_word.chain([
            format!("\"{key}\""),
            format!("word(\"{group}\""),
            format!("kind=\"{group}\""),
        ]);
        assert!(ways.any(|way| all.contains(&way)), "{key} is not used");
    }
    for text in all.split("t(\"").skip(1).filter_map(|rest| rest.split_once('"')) {
        let is_text = text.0.contains('.') && !text.0.contains('/');
        assert!(!is_text || known.contains(text.0), "{} has no text", text.0);
    }
}

/// The page makes the same card of the same fields: `tests/console/compose.test.mjs` reads this fixture, too.
#[test]
fn the_fixture_of_notification_cards_is_what_the_sdk_makes() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/console/notification-card.json")).unwrap();
    for case in cases {
        let card: NotificationCard = serde_json::from_value(case["fields"].clone()).unwrap();
        let mut message = serde_json::to_value(card.message()).unwrap();
        // The API adds the type by itself.
        message.as_object_mut().unwrap().remove("type");
        assert_eq!(message, case["message"]);
    }
}

/// What the glossary of the API names, the page has a text for.
#[test]
fn each_state_and_reason_of_the_glossary_has_a_text() {
    let readme = std::fs::read_to_string(folder().join("../README.md")).unwrap();
    let known: BTreeSet<String> = keys("en").into_iter().collect();
    for (anchor, kind) in [
        ("notification-states", "state"),
        ("wave-states", "wave"),
        ("delivery-states", "delivery"),
        ("skip-reasons", "skip"),
        ("open-reasons", "reason"),
    ] {
        let section = readme.split(&format!("<a id=\"{anchor}\"></a>")).nth(1).unwrap();
        let section = section.split("<a id=").next().unwrap();
        let words: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|word| *word != "reason")
            .collect();
        assert!(words.len() > 3, "{anchor}");
        for word in words {
            assert!(
                known.contains(&format!("{kind}.{word}")),
                "{kind}.{word} has no text"
            );
        }
    }
}
