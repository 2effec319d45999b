//! References come from another bot, and everyone is told.
//!
//! `LINES=10000 cargo test -p tests --release who_is_imported` is a file of the size that is brought in life.

use std::env;

use serde_json::{Value, json};

use super::{System, settled};

/// How many lines, if nobody says.
const LINES: usize = 1_000;

/// What a file is split into. It must be some pieces, so they are small.
const PIECE_BYTES: usize = 400 * 1024;

/// Every so many lines there is a hostile one.
const HOSTILE: usize = 250;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_imported_is_told_and_the_hostile_are_not() {
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
    /// As `curl --retry` sends a file of that type. A slow machine does not get through it in the time of one request.
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
