//! An import of references from another bot, and a notification to everyone.
//!
//! `LINES=10000 cargo test -p tests --release imported_people` uses a file of realistic size.

use std::env;

use serde_json::{Value, json};

use super::{System, settled};

/// The number of lines by default.
const LINES: usize = 1_000;

/// The size of each part of the file. It is small, so that there are several parts.
const PIECE_BYTES: usize = 400 * 1024;

/// One line in this many is hostile.
const HOSTILE: usize = 250;

#[tokio::test(flavor = "multi_thread")]
async fn imported_people_get_the_notification_and_hostile_lines_are_refused() {
    let asked = env::var("LINES").ok().and_then(|text| text.parse().ok());
    let lines: usize = asked.unwrap_or(LINES);
    let system = System::start().await;
    let line = |number: usize| {
        let url = if number % HOSTILE == 7 {
            "https://smba.trafficmanager.net.evil.example/"
        } else {
            system.served.url.as_str()
        };
        json!({
            "channelId": "msteams", "serviceUrl": url, "locale": "en-GB", "bot": {"id": "28:bot", "name": "Bot"},
            "user": {"id": format!("29:p{number}"), "aadObjectId": format!("entra-p{number}"), "name": "Invented"},
            "conversation": {"id": format!("a:p{number}"), "conversationType": "personal",
                             "tenantId": format!("tenant-{}", number % 500)},
            "novel": "x".repeat(300),
        })
        .to_string()
            + "\n"
    };
    let mut pieces = vec![String::new()];
    for line in (0..lines).map(line) {
        if pieces.last().unwrap().len() + line.len() > PIECE_BYTES {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push_str(&line);
    }
    assert!(pieces.len() > 1);
    let (mut taken, mut refused) = (0, 0);
    for piece in pieces {
        let answer = system.bring(piece).await;
        let count = |name: &str| usize::try_from(answer[name].as_u64().unwrap()).unwrap();
        taken += count("imported") + count("unchanged");
        refused += count("refusedCount");
    }
    let hostile = lines / HOSTILE;
    assert_eq!((taken, refused), (lines - hostile, hostile));

    let accepted = system.asks("news").await;
    system.host.drained().await;
    let status = system.status(&accepted).await;
    assert_eq!(status["counts"]["delivered"], lines - hostile, "{status}");
    assert_eq!(settled(&status), (lines - hostile) as u64);
    assert_eq!(system.channel.count("a:p7"), 0);
    assert_eq!(system.channel.count("a:p8"), 1);
    system.host.stop().await;
}

impl System {
    /// Sends the file as `curl --retry` does. A slow machine needs several requests for it.
    async fn bring(&self, lines: String) -> Value {
        let url = format!("{}/api/conversations/import", self.host.url());
        loop {
            let request = self
                .http
                .post(&url)
                .header("content-type", "application/x-ndjson");
            let response = request.body(lines.clone()).send().await.unwrap();
            let status = response.status();
            let text = response.text().await.unwrap();
            if status == 503 && text.contains("The time for one request is over") {
                continue;
            }
            assert_eq!(status, 200, "{text}");
            return serde_json::from_str(&text).unwrap();
        }
    }
}
