//! Requests with templates, data, texts and rows.

use herald::audience::Target;
use herald::id::NotificationId;
use herald::notification::request::Request as NotificationRequest;
use herald::notification::size::{TEAMS_BYTES_MAX, as_teams_counts};
use herald::notification::{Notification, StartPolicy};

use super::*;

fn requests() -> Vec<Vec<u8>> {
    let card = json!({"contentType": "application/vnd.microsoft.card.adaptive", "content": {"type": "AdaptiveCard", "body": [
        {"type": "TextBlock", "$data": "${items}", "$when": "${$index < 3}", "text": "${$index + 1}. ${name} ${formatNumber(price, 2)}"}]}});
    let data = json!({"items": [{"name": "a", "price": 1.5}, {"name": "b"}], "n": 7});
    let mention = json!({"type": "mention", "text": "<at>${recipient.name}</at>", "mentioned": {"id": "${recipient.user}"}});
    [
        json!({"audience": {"everyone": true}, "data": data, "message": {"text": "<at>${recipient.name}</at> ${n}", "textFormat": "xml", "attachments": [card], "entities": [mention]}}),
        json!({"audience": {"rows": [{"user": "ada", "n": 1}, {"user": "ben", "n": [null, {}]}]}, "message": {"text": "${n} ${join(n, ',')}", "summary": "${n}"}}),
        json!({"audience": {"everyone": true}, "texts": {"a": {"de": "b", "de-CH": "c", "*": "d"}}, "message": {"text": "${texts.a} ${notification.id} ${json($root)}"}}),
    ]
    .map(|request| request.to_string().into_bytes())
    .into()
}

#[test]
fn a_request_with_a_template_is_refused_or_renders_what_teams_takes() {
    let now = Timestamp::from_second(NOW).unwrap();
    let recipient =
        || json!({"name": "<at>R&D</at>", "user": "7", "locale": "de-CH-1996", "scope": "personal"});
    fuzz("requests with templates", &mangled(requests()), |input| {
        let document = LosslessJson::from_slice(&input).ok();
        let request = document.and_then(|document| NotificationRequest::parse(&document, now).ok());
        let Some(request) = request else {
            return Ok(());
        };
        let id = NotificationId::fresh(now, [7; 16]);
        let notification = Notification::begin(id, now, "fuzz".to_owned(), &request, StartPolicy::Immediate);
        let Some(renderer) = notification.renderer(&request.message) else {
            prop_assert!(request.message.bindings.is_none());
            return Ok(());
        };
        let rows = match &request.audience.0[0].target {
            Target::Rows { rows, .. } => rows.iter().map(|row| Some(&row.fields)).collect(),
            _ => vec![None],
        };
        for fields in rows {
            let message = notification.render(&renderer, recipient(), fields);
            let again = notification.render_with_unresolved(&renderer, recipient(), fields);
            prop_assert_eq!(message.clone().ok(), again.ok().map(|(message, _)| message));
            if let Ok(message) = message {
                prop_assert!(as_teams_counts(&message) <= TEAMS_BYTES_MAX);
                let text = message.text.unwrap_or_default();
                // The template may have mentions of its own; the name of a recipient makes none.
                prop_assert!(!text.contains("<at>R&D</at>"), "{}", text);
            }
        }
        Ok(())
    });
}
