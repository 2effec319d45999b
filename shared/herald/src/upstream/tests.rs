use super::*;
use crate::queue::batch::Receipt;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";
const RULE: &str = "arn:aws:events:eu-west-1:123456789012:rule/herald/requests";

fn received(body: &str) -> Received {
    Received {
        id: "m-1".into(),
        body: body.into(),
        receipt: Receipt::default(),
        sender: Some("AROAINVENTED:session-7".into()),
    }
}

fn read(body: &Value) -> UpstreamEvent {
    UpstreamEvent::read(&received(&body.to_string()))
}

fn request() -> Value {
    json!({"audience": {"everyone": true}, "message": {"text": "hi"}})
}

fn bus_event(detail_type: &str, detail: &Value) -> Value {
    json!({"version": "0", "id": "e-1", "detail-type": detail_type, "source": "builds", "account": "123456789012",
           "time": "2026-01-01T00:00:00Z", "region": "eu-west-1", "resources": [], "detail": detail})
}

fn topic_message(message: &str) -> Value {
    json!({"Type": "Notification", "MessageId": "n-1", "TopicArn": TOPIC, "Subject": "news", "Message": message,
           "Timestamp": "2026-01-01T00:00:00.000Z", "SignatureVersion": "1"})
}

#[test]
fn a_request_is_the_same_by_every_way() {
    let ways = [
        (
            json!({"rule": RULE, "event": bus_event(REQUEST_DETAIL_TYPE, &request())}),
            "e-1",
            format!("rule:{RULE}"),
        ),
        (
            bus_event(REQUEST_DETAIL_TYPE, &request()),
            "e-1",
            "source:builds".to_owned(),
        ),
        (
            topic_message(&request().to_string()),
            "n-1",
            format!("topic:{TOPIC}"),
        ),
        (request(), "m-1", "sqs:AROAINVENTED".to_owned()),
    ];
    for (body, id, caller) in ways {
        let event = read(&body);
        assert_eq!((event.id.as_str(), &event.caller), (id, &caller));
        assert_eq!(event.content, Ok(EventContent::Request(request().into())));
    }
}

#[test]
fn numbers_of_a_request_stay_as_they_were_written() {
    let body = r#"{"audience": {"everyone": true}, "message": {"text": "hi", "x-novel": 1.10}}"#;
    let bus = bus_event(REQUEST_DETAIL_TYPE, &json!("HERE")).to_string();
    for body in [
        body.to_owned(),
        bus.replace("\"HERE\"", body),
        topic_message(body).to_string(),
    ] {
        match UpstreamEvent::read(&received(&body)).content {
            Ok(EventContent::Request(request)) => assert!(request.to_string().contains("1.10"), "{body}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn foreign_events_have_one_form() {
    let foreign = |body: &Value| match read(body).content {
        Ok(EventContent::Foreign(event)) => event,
        other => panic!("{other:?}"),
    };
    let event = bus_event("Order Shipped", &json!({"order": 7}));
    assert_eq!(foreign(&event), event);
    assert_eq!(foreign(&json!({"rule": RULE, "event": event})), event);
    let topic = foreign(&topic_message("the disk is full"));
    assert_eq!(
        (&topic["source"], &topic["account"], &topic["region"]),
        (&json!("aws.sns"), &json!("123456789012"), &json!("eu-west-1"))
    );
    assert_eq!(topic["detail"]["message"], "the disk is full");
    assert_eq!(topic["detail"]["subject"], "news");
    let alarm = foreign(&topic_message(r#"{"AlarmName": "disk"}"#));
    assert_eq!(alarm["detail"]["message"]["AlarmName"], "disk");
    let sent = foreign(&json!({"order": 7}));
    assert_eq!(
        (&sent["source"], &sent["detail"]["order"]),
        (&json!("aws.sqs"), &json!(7))
    );
}

#[test]
fn what_cannot_be_read_has_a_problem_in_the_words_of_the_api() {
    let problem = |body: &str| UpstreamEvent::read(&received(body)).content.unwrap_err();
    assert!(
        problem("{\"audience\": secret}")
            .detail
            .starts_with("The body is not JSON")
    );
    assert!(problem("").detail.contains("empty"));
    assert!(problem("[1]").detail.contains("must be a JSON object"));
    let twice = problem(r#"{"audience": {}, "audience": {}}"#);
    assert_eq!(twice.errors[0].pointer, "#/audience");
}

#[test]
fn a_failed_event_keeps_its_first_failure_and_is_given_up_after_the_last_receive() {
    let message = received("x");
    let event = UpstreamEvent::read(&message);
    let problem = event.content.clone().unwrap_err();
    let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
    let once = FailedEvent::refused(&event, &message, problem.clone(), first, None);
    assert!(!once.is_given_up());
    let last = Received {
        receipt: Receipt {
            receives: RECEIVES_MAX,
            sent_at: None,
        },
        ..message
    };
    let again = FailedEvent::refused(&event, &last, problem, later, Some(&once));
    assert_eq!((again.first_failed_at, again.last_failed_at), (first, later));
    assert!(again.is_given_up());
    assert_eq!(
        again.expires_at(),
        Some(later.checked_add(FAILED_EVENT_TTL).unwrap())
    );
}

#[test]
fn a_job_of_the_bot_is_read_as_it_was_put_off() {
    let job = Job {
        id: "turn-0".into(),
        name: "report".into(),
        value: json!({"about": "sales"}),
        conversation: "msteams|28:bot|a:ada".parse().unwrap(),
    };
    let event = UpstreamEvent::read(&received(&job.message().body));
    assert_eq!((&*event.id, &*event.caller), ("turn-0", "bot:28:bot"));
    assert_eq!(event.content, Ok(EventContent::Job(Box::new(job))));
    for malformed in [json!({"heraldJob": 1}), json!({"heraldJob": {"id": "1"}})] {
        assert_eq!(read(&malformed).content.unwrap_err().status, 400);
    }
}
