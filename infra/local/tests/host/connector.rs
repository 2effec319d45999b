//! The channel answers every request of the official Connector clients as Teams does.

use herald_local::channel::{Channel, Conversation, Person, TENANT};

use super::*;

struct Connector {
    channel: Channel,
    http: hyper_client::Http,
    ada: Person,
    chat: Conversation,
}

mod hyper_client {
    //! Any method with a JSON body, over one connection each.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    pub(super) struct Http(pub(super) String);

    impl Http {
        pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
            let (address, prefix) = self.0.split_once('/').unwrap();
            let mut stream = TcpStream::connect(address).await.unwrap();
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let request = format!(
                "{method} /{prefix}{path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: \
                 close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), body.to_owned())
        }
    }
}

impl Connector {
    async fn open() -> Connector {
        let channel = Channel::open("http://127.0.0.1:1/", None).await.unwrap();
        let people = ["Ada", "Eve"].map(Person::named);
        for person in &people {
            channel.add(&Conversation::personal(person));
        }
        for name in ["library", "lending"] {
            channel.add(&Conversation::channel("library", name, &people));
        }
        let [ada, _] = people;
        Connector {
            http: hyper_client::Http(channel.service_url().trim_start_matches("http://").to_owned()),
            chat: Conversation::personal(&ada),
            ada,
            channel,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, body) = self.http.ask(method, path, &body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// The path of a conversation, its id percent-encoded as clients do.
    fn path(&self, rest: &str) -> String {
        format!("/v3/conversations/{}{rest}", self.chat.id.replace(':', "%3A"))
    }
}

#[tokio::test]
async fn the_members_of_an_activity_are_told_whoever_sent_it() {
    let connector = Connector::open().await;
    let (status, sent) = connector
        .ask(
            "POST",
            &connector.path("/activities"),
            json!({"type": "message", "text": "a"}),
        )
        .await;
    assert_eq!(status, 201);
    let heard = connector.channel.message(&connector.chat, &connector.ada, "b");
    for id in [&sent["id"], &heard["id"]] {
        let path = connector.path(&format!("/activities/{}/members", id.as_str().unwrap()));
        let (status, members) = connector.ask("GET", &path, Value::Null).await;
        assert_eq!((status, &members[0]["name"]), (200, &json!("Ada")), "{members}");
    }
    let (status, error) = connector
        .ask("GET", &connector.path("/activities/1/members"), Value::Null)
        .await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (404, &json!("ActivityNotFoundInConversation"))
    );
}

#[tokio::test]
async fn members_are_told_whole_by_page_and_by_every_id() {
    let connector = Connector::open().await;
    let (status, members) = connector
        .ask("GET", &connector.path("/members"), Value::Null)
        .await;
    assert_eq!((status, members.as_array().unwrap().len()), (200, 1));
    let team = "/v3/conversations/19%3Alibrary%40thread.tacv2";
    for path in [
        "/pagedmembers",
        "/pagedmembers?pageSize=1",
        "/pagedmembers?continuationToken=",
    ] {
        let (status, page) = connector.ask("GET", &format!("{team}{path}"), Value::Null).await;
        assert_eq!(
            (status, page["members"].as_array().map(Vec::len)),
            (200, Some(2)),
            "{path} {page}"
        );
    }
    let Person {
        id, entra_object_id, ..
    } = &connector.ada;
    for name in [id.as_str(), entra_object_id, "Ada%40library.example"] {
        let (status, member) = connector
            .ask("GET", &format!("{team}/members/{name}"), Value::Null)
            .await;
        assert_eq!((status, &member["id"]), (200, &json!(id)), "{name}");
        assert_eq!(member["userPrincipalName"], "ada@library.example");
    }
    let (status, _) = connector
        .ask("GET", &format!("{team}/members/29:nobody"), Value::Null)
        .await;
    assert_eq!(status, 404);
    let (status, team) = connector
        .ask("GET", "/v3/teams/19%3Alibrary%40thread.tacv2", Value::Null)
        .await;
    assert_eq!(
        (status, &team["memberCount"], &team["channelCount"]),
        (200, &json!(2), &json!(2))
    );
}

#[tokio::test]
async fn an_attachment_that_was_uploaded_can_be_read() {
    let connector = Connector::open().await;
    let picture =
        json!({"type": "text/plain", "name": "a.txt", "originalBase64": "aGVsbG8=", "thumbnailBase64": null});
    let (status, uploaded) = connector
        .ask("POST", &connector.path("/attachments"), picture)
        .await;
    assert_eq!(status, 201, "{uploaded}");
    let path = format!("/v3/attachments/{}", uploaded["id"].as_str().unwrap());
    let (status, info) = connector.ask("GET", &path, Value::Null).await;
    assert_eq!(
        (status, &info["views"]),
        (200, &json!([{"viewId": "original", "size": 5}]))
    );
    let content = connector
        .http
        .ask("GET", &format!("{path}/views/original"), &Value::Null)
        .await;
    assert_eq!(content, (200, "hello".to_owned()));
    for missing in [
        "/v3/attachments/7",
        "/v3/attachments/0",
        &format!("{path}/views/thumbnail"),
    ] {
        let (status, error) = connector.ask("GET", missing, Value::Null).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (404, &json!("AttachmentNotFound")),
            "{missing}"
        );
    }
}

#[tokio::test]
async fn batches_for_a_tenant_a_team_and_channels_reach_their_members() {
    let connector = Connector::open().await;
    let mut reached = 0;
    for (kind, member, count) in [
        ("tenant", json!(null), 2),
        ("team", json!(null), 2),
        ("channels", json!([{"id": "19:lending@thread.tacv2"}]), 1),
        ("users/", json!([{"id": connector.ada.id}]), 1),
    ] {
        let body = json!({
            "tenantId": TENANT, "teamId": "19:library@thread.tacv2", "members": member,
            "activity": {"type": "message", "text": kind},
        });
        let (status, operation) = connector
            .ask("POST", &format!("/v3/batch/conversation/{kind}"), body)
            .await;
        assert_eq!(status, 201, "{kind} {operation}");
        let id = operation
            .as_str()
            .or_else(|| operation["operationId"].as_str())
            .unwrap();
        let path = format!("/v3/batch/conversation/{}", id.replace('/', "%2F"));
        for _ in 0..3 {
            connector.ask("GET", &path, Value::Null).await;
        }
        let (status, progress) = connector.ask("GET", &path, Value::Null).await;
        assert_eq!(
            (status, &progress["statusMap"]["201"]),
            (200, &json!(count)),
            "{kind} {progress}"
        );
        reached += count;
        assert_eq!(connector.channel.posted().len(), reached, "{kind}");
    }
}

#[tokio::test]
async fn what_teams_does_not_have_is_refused_as_teams_does() {
    let connector = Connector::open().await;
    let (_, sent) = connector
        .ask(
            "POST",
            &connector.path("/activities"),
            json!({"type": "message", "text": "a"}),
        )
        .await;
    let message = sent["id"].as_str().unwrap();
    for (method, path, status) in [
        ("GET", "/v3/conversations".to_owned(), 405),
        ("POST", connector.path("/activities/history"), 405),
        ("DELETE", connector.path("/members/29:1"), 405),
        (
            "PUT",
            connector.path(&format!("/activities/{message}/reactions/like")),
            200,
        ),
        (
            "DELETE",
            connector.path(&format!("/activities/{message}/reactions/like")),
            200,
        ),
        ("PUT", connector.path("/activities/1/reactions/like"), 404),
        ("GET", "/v1/meetings/m".to_owned(), 404),
        ("GET", "/v1/meetings/m/participants/u?tenantId=t".to_owned(), 404),
        ("POST", "/v1/meetings/m/notification".to_owned(), 404),
        ("GET", "/v3/unknown".to_owned(), 404),
    ] {
        let (answered, error) = connector.ask(method, &path, json!({})).await;
        assert_eq!(answered, status, "{method} {path} {error}");
        assert!(
            status == 200 || error["error"]["code"].is_string(),
            "{method} {path}"
        );
    }
}
