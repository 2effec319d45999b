use super::*;

const TENANT: &str = "tenant-1";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Ada's personal conversation, in a tenant.
fn world() -> Teams {
    let mut teams = Teams::new("28:bot", "manifest");
    let tenant = teams.tenant(TENANT);
    teams.create_person(tenant, "29:ada");
    teams
}

fn asked(teams: &mut Teams, method: &str, target: &str, body: &Value, at: Timestamp) -> Response {
    let address = Address::Region(0);
    match Request::read(address, method, target, body) {
        Ok(request) => teams.handle(&request, at),
        Err(refusal) => refusal.into(),
    }
}

fn create(teams: &mut Teams, member: &str) -> Response {
    let body = json!({"tenantId": TENANT, "members": [{"id": member}]});
    asked(teams, "POST", "/v3/conversations", &body, now())
}

fn code(response: &Response) -> (u16, &str) {
    let code = response
        .body
        .as_ref()
        .and_then(|body| body.pointer("/error/code"));
    (response.status, code.and_then(Value::as_str).unwrap_or_default())
}

#[test]
fn a_conversation_with_a_person_is_the_same_by_both_of_their_ids() {
    let mut teams = world();
    let created = create(&mut teams, "29:ada");
    assert_eq!(created, Response::new(201, json!({"id": "a:ada"})));
    assert_eq!(create(&mut teams, "entra-ada"), created);
    assert_eq!(code(&create(&mut teams, "29:bob")), (400, "BadSyntax"));
    assert_eq!(
        code(&create(&mut teams, "entra-bob")),
        (403, "ForbiddenOperationException")
    );
}

#[test]
fn a_message_is_sent_changed_deleted_and_then_gone() {
    let mut teams = world();
    let sent = asked(
        &mut teams,
        "POST",
        "/v3/conversations/a%3Aada/activities",
        &json!({"text": "one"}),
        now(),
    );
    let id = sent.body.unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/v3/conversations/a%3Aada/activities/{id}");
    let members = format!("{path}/members");
    assert_eq!(
        asked(&mut teams, "GET", &members, &Value::Null, now()).status,
        200
    );
    assert_eq!(
        asked(&mut teams, "PUT", &path, &json!({"text": "two"}), now()).status,
        200
    );
    assert_eq!(teams.messages[&id].text().as_deref(), Some("two"));
    assert_eq!(
        asked(&mut teams, "DELETE", &path, &Value::Null, now()).status,
        200
    );
    let gone = asked(&mut teams, "DELETE", &path, &Value::Null, now());
    assert_eq!(code(&gone), (404, "ActivityNotFoundInConversation"));
    let postings: Vec<Posting> = teams.posted.iter().map(|posted| posted.posting).collect();
    assert_eq!(postings, [Posting::New, Posting::Update, Posting::Delete]);
}

#[test]
fn what_happens_to_people_has_its_code() {
    let mut teams = world();
    let send = |teams: &mut Teams| {
        let sent = asked(
            teams,
            "POST",
            "/v3/conversations/a%3Aada/activities",
            &json!({}),
            now(),
        );
        sent.body
            .and_then(|body| body.pointer("/error/code").cloned())
            .unwrap_or_default()
    };
    teams.refuse(0, "ConversationBlockedByUser");
    assert_eq!(send(&mut teams), "ConversationBlockedByUser");
    teams.install(0);
    teams.disable(0, true);
    assert_eq!(send(&mut teams), "BotDisabledByAdmin");
    teams.recover();
    teams.relocate(0, 1);
    assert_eq!(send(&mut teams), "BadArgument");
    teams.relocate(0, 0);
    assert_eq!(send(&mut teams), Value::Null);
    teams.rename(0);
    assert_eq!(send(&mut teams), "ConversationNotFound");
}

#[test]
fn a_request_above_a_limit_is_refused_with_the_time_to_wait() {
    let mut teams = world();
    let send = |teams: &mut Teams| {
        asked(
            teams,
            "POST",
            "/v3/conversations/a:ada/activities",
            &json!({}),
            now(),
        )
    };
    for _ in 0..7 {
        assert_eq!(send(&mut teams).status, 201);
    }
    let refused = send(&mut teams);
    assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
}

#[test]
fn a_second_request_to_a_conversation_waits_for_the_first() {
    let mut teams = world();
    let target = "/v3/conversations/a:ada/activities";
    let request = Request::read(Address::Region(0), "POST", target, &json!({})).unwrap();
    let place = teams.admit(&request, now()).unwrap();
    assert_eq!(teams.admit(&request, now()).unwrap_err().status, 412);
    teams.carry_out(&request, place, now());
    teams.finish(&request, place);
    assert!(teams.admit(&request, now()).is_ok());
}

#[test]
fn a_roster_is_read_in_pages_until_its_token_expires() {
    let mut teams = world();
    teams.token_ttl = Some(SignedDuration::from_mins(5));
    let general = teams.add(Place::new(
        Kind::Channel,
        0,
        "19:t@thread.tacv2".into(),
        Account::default(),
    ));
    teams.places[general].team = Some(0);
    teams.teams.push(Team {
        channels: vec![general],
        members: Vec::new(),
    });
    for number in 0..60 {
        let person = teams.create_person(0, &format!("29:p{number}"));
        teams.join(0, person, json!({ "id": number }), now());
    }
    let path = "/v3/conversations/19:t@thread.tacv2/pagedmembers?pageSize=1";
    let first = asked(&mut teams, "GET", path, &Value::Null, now()).body.unwrap();
    assert_eq!(first["members"].as_array().unwrap().len(), 50);
    let next = format!(
        "{path}&continuationToken={}",
        first["continuationToken"].as_str().unwrap()
    );
    let second = asked(&mut teams, "GET", &next, &Value::Null, now()).body.unwrap();
    assert_eq!(
        (
            second["members"].as_array().unwrap().len(),
            &second["members"][0]["id"]
        ),
        (11, &json!(49))
    );
    let later = now() + SignedDuration::from_mins(6);
    assert_eq!(
        code(&asked(&mut teams, "GET", &next, &Value::Null, later)),
        (400, "BadArgument")
    );
    let channels = asked(
        &mut teams,
        "GET",
        "/v3/teams/19:t@thread.tacv2/conversations",
        &Value::Null,
        now(),
    );
    assert_eq!(channels.body.unwrap()["conversations"][0]["name"], Value::Null);
}

#[test]
fn a_batch_reaches_everybody_but_those_whom_teams_refuses() {
    let mut teams = world();
    let blocked = teams.create_person(0, "29:bob");
    teams.refuse(blocked, "ConversationBlockedByUser");
    let members = json!([{"id": "29:ada"}, {"id": "29:bob"}, {"id": "29:nobody"}]);
    let body = json!({"tenantId": TENANT, "members": members, "activity": {"text": "news"}});
    let submitted = asked(&mut teams, "POST", "/v3/batch/conversation/users", &body, now());
    assert_eq!(submitted, Response::new(201, json!("op/1")));
    let polled = asked(
        &mut teams,
        "GET",
        "/v3/batch/conversation/op%2F1",
        &Value::Null,
        now(),
    )
    .body
    .unwrap();
    assert_eq!(polled["statusMap"], json!({"201": 1, "403": 1, "404": 1}));
    let path = "/v3/batch/conversation/failedentries/op%2F1";
    let failed = asked(&mut teams, "GET", path, &Value::Null, now()).body.unwrap();
    assert_eq!(failed["failedEntryResponses"][1]["entryId"], "29:nobody");
    assert_eq!(teams.posted.len(), 1);
}

#[test]
fn graph_installs_the_app_once_and_then_the_connector_creates_the_conversation() {
    let mut teams = world();
    teams.places[0].installed = false;
    assert_eq!(code(&create(&mut teams, "entra-ada")).0, 403);
    let mut graph = |method: &str, target: &str, body: Value| {
        let operation = GraphOperation::read(method, target, &body)?;
        let tenant = TENANT.to_owned();
        let url = "https://graph.example".to_owned();
        teams.graph(&GraphRequest {
            tenant,
            url,
            operation,
        })
    };
    let filter = "/v1.0/appCatalogs/teamsApps?%24filter=externalId%20eq%20'manifest'";
    let found = graph("GET", filter, Value::Null).unwrap().response.body.unwrap();
    assert_eq!(found["value"][0]["id"], "app-1");
    let (apps, bind) = (
        "/v1.0/users/entra-ada/teamwork/installedApps",
        json!({"teamsApp@odata.bind": "https://graph.example/v1.0/appCatalogs/teamsApps/app-1"}),
    );
    assert_eq!(graph("POST", apps, bind.clone()).unwrap().installed, Some(0));
    assert_eq!(graph("POST", apps, bind).unwrap_err().status, 409);
    let chat = format!("{apps}/installation-of-entra-ada/chat");
    let chat = graph("GET", &chat, Value::Null).unwrap().response.body.unwrap();
    assert_eq!(chat["id"], "19:entra-ada@unq.gbl.spaces");
    assert_eq!(teams.named("19:entra-ada@unq.gbl.spaces"), Some(0));
    assert_eq!(create(&mut teams, "entra-ada").status, 201);
}
