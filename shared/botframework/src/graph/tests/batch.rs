//! Many people in one request.

use proptest::prelude::*;

use super::*;

fn people(count: usize) -> Vec<EntraObjectId> {
    (0..count).map(|number| user(&format!("u'{number}/"))).collect()
}

async fn check(
    sky: &Sky,
    people: &[EntraObjectId],
) -> Result<Vec<Result<Option<InstallationId>, Error>>, Error> {
    let people: Vec<_> = people.iter().collect();
    sky.graph().installations(&people, &app()).await
}

/// Each outcome as one word.
fn words(outcomes: &[Result<Option<InstallationId>, Error>]) -> Vec<String> {
    let word = |outcome: &Result<Option<InstallationId>, Error>| match outcome {
        Ok(Some(id)) => id.to_string(),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("{:?}", error.reason()),
    };
    outcomes.iter().map(word).collect()
}

#[tokio::test]
async fn twenty_people_are_asked_for_at_once_each_with_an_outcome_of_their_own() {
    let answers = json!({"responses": [
        {"id": "4", "status": 404, "body": {"error": {"code": "NotFound"}}},
        {"id": "1", "status": 200, "body": {"value": []}},
        {"id": "0", "status": 200, "headers": {"Content-Type": "x"}, "body": {"value": [{"id": "i-0"}]}},
        {"id": "2", "status": 429, "headers": {"Retry-After": "9", "request-id": "r2"}, "body": ""},
        {"id": "5", "status": 200, "body": "c2Vjb25k"},
        {"id": "6", "status": "200"},
        "odd",
        {"id": "3", "status": 403, "body": {"error": {"code": "Forbidden", "message": "Missing role permissions on the request."}}},
        {"id": "19", "status": 503},
        {"id": "77", "status": 200, "body": {"value": [{"id": "nobody's"}]}},
        {"id": "0", "status": 500},
    ]});
    let sky = Sky::always(200, "request-id: whole", answers.to_string());
    let outcomes = check(&sky, &people(20)).await.unwrap();
    let mut expected = vec!["NoResponse"; 20];
    for (place, word) in [
        (0, "i-0"),
        (1, "none"),
        (2, "Throttled"),
        (3, "NotConsented"),
        (4, "NotFound"),
        (19, "ServerError"),
    ] {
        expected[place] = word;
    }
    assert_eq!(words(&outcomes), expected);
    let throttled = outcomes[2].as_ref().unwrap_err();
    let wait = throttled.retry_after().unwrap().delay(UNIX_EPOCH);
    assert_eq!((wait.as_secs(), throttled.correlation()), (9, "request-id=r2"));
    assert_eq!(
        outcomes[6].as_ref().unwrap_err().correlation(),
        "request-id=whole"
    );

    let [asked] = sky.asked().try_into().unwrap();
    assert_eq!(asked.line, "POST https://graph.microsoft.com/v1.0/$batch");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let requests = body["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 20);
    let filter = "$expand=teamsApp&$filter=teamsApp%2Fid%20eq%20%27app-1%27";
    assert_eq!(
        requests[7],
        json!({"id": "7", "method": "GET", "url": format!("/users/u%277%2F/teamwork/installedApps?{filter}")})
    );
}

#[tokio::test]
async fn nobody_is_no_request_one_is_a_plain_one_and_more_than_twenty_are_refused() {
    let sky = Sky::always(200, "", installed("i"));
    assert_eq!(words(&check(&sky, &[]).await.unwrap()), Vec::<String>::new());
    let error = check(&sky, &people(21)).await.unwrap_err();
    assert_eq!(error.class(), Class::Rejected);
    assert!(sky.all().is_empty());
    assert_eq!(words(&check(&sky, &people(1)).await.unwrap()), ["i"]);
    assert!(sky.asked()[0].line.starts_with("GET "));
}

#[tokio::test]
async fn an_id_that_cannot_stand_in_a_url_is_refused_alone() {
    let answers = json!({"responses": [{"id": "1", "status": 200, "body": {"value": []}}]});
    let sky = Sky::always(200, "", answers.to_string());
    let outcomes = check(&sky, &[user(""), user("u"), user("..")]).await.unwrap();
    assert_eq!(words(&outcomes), ["Refused", "none", "Refused"]);
    let body: Value = serde_json::from_str(&sky.asked()[0].body).unwrap();
    assert_eq!(body["requests"].as_array().unwrap().len(), 1);

    let untouched = Sky::always(200, "", "");
    let outcomes = check(&untouched, &[user(""), user(".")]).await.unwrap();
    assert_eq!(words(&outcomes), ["Refused", "Refused"]);
    assert!(untouched.all().is_empty());
}

#[tokio::test]
async fn what_fails_as_a_whole_fails_for_all_with_one_answer() {
    for (status, body, reason) in [
        (429, "", Reason::Throttled),
        (503, "", Reason::ServerError),
        (400, "", Reason::Refused),
        (200, "", Reason::NoResponse),
        (200, "{}", Reason::NoResponse),
    ] {
        let error = check(&Sky::always(status, "", body), &people(2))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{status} {body}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_person_gets_the_answer_to_their_own_question_in_whatever_order(
        (statuses, order) in proptest::collection::vec(
            prop_oneof![Just(200_u16), Just(404), Just(429), Just(503)], 2..20,
        ).prop_flat_map(|statuses| {
            let order: Vec<usize> = (0..statuses.len()).collect();
            (Just(statuses), Just(order).prop_shuffle())
        }),
        lost in 0_usize..20,
    ) {
        let answers: Vec<_> = order.iter().filter(|place| **place != lost).map(|&place| {
            let body = json!({"value": [{"id": format!("i-{place}")}]});
            json!({"id": place.to_string(), "status": statuses[place], "body": body})
        }).collect();
        let sky = Sky::always(200, "", json!({"responses": answers}).to_string());
        let outcomes = run(check(&sky, &people(statuses.len()))).unwrap();
        let expected: Vec<_> = statuses.iter().enumerate().map(|(place, status)| match status {
            _ if place == lost => "NoResponse".to_owned(),
            200 => format!("i-{place}"),
            404 => "NotFound".to_owned(),
            429 => "Throttled".to_owned(),
            _ => "ServerError".to_owned(),
        }).collect();
        prop_assert_eq!(words(&outcomes), expected);
    }

    #[test]
    fn no_answer_whatever_breaks_the_client_or_changes_how_many_outcomes_there_are(
        status in 200_u16..600, body in prop_oneof![
            ".{0,60}",
            "[{]\"responses\":[\\[]([{]\"id\":\"[0-2]\",\"status\":-?[0-9]{1,6}[}],){0,3}[0-9][\\]][}]",
        ],
    ) {
        let sky = Sky::always(status, "retry-after: x", body);
        if let Ok(outcomes) = run(check(&sky, &people(3))) {
            prop_assert_eq!(outcomes.len(), 3);
        }
        let graph = sky.graph();
        let _ = run(graph.install_for_user(&user("u"), &app()));
        let _ = run(graph.chat(&user("u"), &"i".into()));
    }
}
