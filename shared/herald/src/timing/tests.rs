use serde_json::{Value, json};

use super::*;
use crate::id::NotificationId;
use crate::notification::StartPolicy;
use crate::notification::request::Request;
use crate::schedule::QuietHours;

fn now() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

fn notification(fields: &Value) -> Notification {
    let mut body = json!({"audience": {"everyone": true}, "message": {"text": "x"}});
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    let request = Request::parse(&body.into(), now()).unwrap();
    let id = NotificationId::fresh(now(), [7; 16]);
    Notification::begin(id, now(), "test".to_owned(), &request, StartPolicy::Immediate)
}

fn hours(from: i8, to: i8) -> QuietChoice {
    let at = |hour| jiff::civil::time(hour, 0, 0, 0);
    QuietChoice::Daily(QuietHours::between(at(from), at(to)).unwrap())
}

fn tenant(zone: Option<&str>, quiet_hours: Option<QuietChoice>) -> AllTenants {
    let preferences = tenant_preferences::TenantPreferences {
        zone: zone.and_then(Zone::named),
        quiet_hours,
    };
    AllTenants([("t".to_owned(), preferences)].into())
}

fn chosen(zone: Option<&str>, quiet_hours: Option<QuietChoice>) -> Preferences {
    Preferences {
        zone: zone.and_then(Zone::named),
        quiet_hours,
        ..Preferences::default()
    }
}

#[test]
fn the_zone_is_the_most_specific_that_is_known() {
    let at_nine =
        json!({"deliverAt": {"at": "2026-12-24T09:00", "zone": "recipient", "fallback": "Asia/Tokyo"}});
    let at_nine = notification(&at_nine);
    let own = chosen(Some("America/New_York"), None);
    let seen = Zone::named("Europe/Berlin").unwrap();
    let with = |preferences, zone, tenants| {
        let of = Habits {
            preferences,
            zone,
            tenant: Some("t"),
        };
        let defaults = Defaults {
            category: None,
            tenants,
        };
        due(&at_nine, &defaults, of, now()).unwrap().to_string()
    };
    let nothing = chosen(None, None);
    let india = || tenant(Some("Asia/Kolkata"), None);
    assert_eq!(with(Some(&own), Some(&seen), india()), "2026-12-24T14:00:00Z");
    assert_eq!(with(Some(&nothing), Some(&seen), india()), "2026-12-24T08:00:00Z");
    assert_eq!(with(None, None, india()), "2026-12-24T03:30:00Z");
    assert_eq!(with(None, None, AllTenants::default()), "2026-12-24T00:00:00Z");
    let without = json!({"deliverAt": {"at": "2026-12-24T09:00", "zone": "recipient"}});
    let due = due(
        &notification(&without),
        &Defaults::default(),
        Habits::default(),
        now(),
    );
    assert_eq!(due.unwrap().to_string(), "2026-12-24T09:00:00Z");
}

#[test]
fn quiet_hours_are_those_of_the_person_then_of_the_category_then_of_the_tenant() {
    let news = notification(&json!({"category": "news"}));
    let until = |own: Option<QuietChoice>, category, of_tenant| {
        let own = chosen(None, own);
        let of = Habits {
            preferences: Some(&own),
            zone: None,
            tenant: Some("t"),
        };
        let tenants = tenant(None, of_tenant);
        let defaults = Defaults { category, tenants };
        let end = quiet_until(&news, &defaults, of, now());
        end.map(|end| end.strftime("%H").to_string())
    };
    let (to_13, to_14, to_15) = (Some(hours(11, 13)), Some(hours(11, 14)), Some(hours(11, 15)));
    assert_eq!(until(to_13, to_14, to_15).as_deref(), Some("13"));
    assert_eq!(until(None, to_14, to_15).as_deref(), Some("14"));
    assert_eq!(until(None, None, to_15).as_deref(), Some("15"));
    assert_eq!(until(None, None, None), None);
    assert_eq!(until(Some(QuietChoice::Never), to_14, to_15), None);
    assert_eq!(until(None, Some(QuietChoice::Never), to_15), None);
    assert_eq!(until(Some(hours(13, 14)), to_14, to_15), None);
}

#[test]
fn what_is_mandatory_passes_quiet_hours_and_keeps_its_local_time() {
    let own = chosen(Some("UTC"), Some(hours(8, 14)));
    let of = Habits {
        preferences: Some(&own),
        ..Habits::default()
    };
    let due = |fields: Value| {
        let due = due(&notification(&fields), &Defaults::default(), of, now());
        due.map(|due| due.strftime("%d %H:%M").to_string())
    };
    assert_eq!(due(json!({})).as_deref(), Some("01 14:00"));
    assert_eq!(due(json!({"mandatory": true})), None);
    let at = |at: &str| json!({"at": at, "zone": "recipient"});
    assert_eq!(
        due(json!({"deliverAt": at("2026-12-02T09:00")})).as_deref(),
        Some("02 14:00")
    );
    assert_eq!(
        due(json!({"deliverAt": at("2026-12-02T16:00")})).as_deref(),
        Some("02 16:00")
    );
    assert_eq!(
        due(json!({"deliverAt": at("2026-12-02T09:00"), "mandatory": true})).as_deref(),
        Some("02 09:00")
    );
    // It has passed: at once, which is in quiet hours.
    assert_eq!(
        due(json!({"deliverAt": at("2026-12-01T11:00")})).as_deref(),
        Some("01 14:00")
    );
}

#[tokio::test]
async fn defaults_are_read_only_for_a_notification_that_heeds_some() {
    let store = crate::store::memory::Store::new();
    let preferences = tenant(Some("Asia/Tokyo"), Some(hours(1, 2)))
        .0
        .remove("t")
        .unwrap();
    catalogue::put::<AllTenants>(&store, "t", &preferences)
        .await
        .unwrap();
    let read = async |fields: Value, has_defaults| {
        let notification = Notification {
            has_defaults,
            ..notification(&fields)
        };
        Defaults::of(&store, &notification).await.unwrap()
    };
    assert!(read(json!({}), false).await.is_empty());
    assert!(!read(json!({}), true).await.is_empty());
    assert!(read(json!({"mandatory": true}), true).await.is_empty());
}
