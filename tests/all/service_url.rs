//! No request goes to a hostile service URL, whether it comes from an activity, the table, a redirect, or a Connector's
//! answer.

use std::sync::{Arc, Mutex};

use botframework::activity::Activity;
use botframework::cloud::Cloud;
use botframework::connector::{Class, Connector, ConversationParameters};
use botframework::http::{Body, HttpTransport, ResponseFuture, Transport};
use botframework::id::ConversationId;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use bytes::Bytes;
use herald::conversation::Observation;
use herald::store::Conversations;
use http::{Request, Response};
use serde_json::json;
use tests::channel::Channel;
use tests::credential::given;
use tests::hostile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{World, personal};

fn rule(cloud: Cloud) -> TrustRule {
    TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused)
}

fn trusted(cloud: Cloud) -> String {
    format!("https://{}/teams/", cloud.endpoints().teams_hosts[0])
}

#[tokio::test]
async fn a_hostile_service_url_in_the_table_is_not_used() {
    for cloud in Cloud::ALL {
        let world = World::of_cloud(cloud);
        // An empty URL does not make a conversation that can be written to.
        let hostile: Vec<_> = hostile::service_urls(cloud)
            .into_iter()
            .filter(|url| !url.is_empty())
            .collect();
        assert!(hostile.len() >= 150);
        for (number, url) in [trusted(cloud)].iter().chain(&hostile).enumerate() {
            let mut activity = personal(&format!("p{number}"), "installationUpdate");
            activity["serviceUrl"] = json!(url);
            for observation in Observation::from_activity(&Activity::from_value(activity).unwrap()) {
                world.store.remember(observation, world.now()).await.unwrap();
            }
        }
        let id = world
            .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
            .await;
        world.work().await;
        let counts = world.notification(&id).await.counts;
        assert_eq!(
            (counts.delivered, counts.rejected),
            (1, hostile.len() as u64),
            "{cloud:?}"
        );
        assert_eq!(world.channel.requests(), 1, "{cloud:?}");
        assert_eq!(world.channel.count("a:p0"), 1, "{cloud:?}");
    }
}

/// A Connector that reports another service URL for the conversation it created.
#[derive(Clone)]
struct Elsewhere {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Transport for Elsewhere {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        let document = json!({"id": "a:new", "serviceUrl": self.url}).to_string();
        Box::pin(async move { Ok(Response::new(Body::Complete(document.into()))) })
    }
}

#[tokio::test]
async fn a_hostile_service_url_from_a_connector_is_not_used() {
    for cloud in Cloud::ALL {
        for url in hostile::service_urls(cloud) {
            let transport = Elsewhere {
                url,
                asked: Arc::default(),
            };
            let connector = Connector::new(transport.clone(), rule(cloud), given(cloud));
            let parameters = ConversationParameters::default();
            let made = connector
                .create_conversation(&trusted(cloud), &parameters)
                .await
                .unwrap();
            let (id, url) = (made.id.unwrap(), &transport.url);
            assert_eq!(made.service_url, None, "an untrusted service URL is dropped");
            let error = connector
                .send_to_conversation(url, &id, &Activity::message("hi"))
                .await
                .unwrap_err();
            assert_eq!(error.class(), Class::Rejected, "{url}");
            assert_eq!(transport.asked.lock().unwrap().len(), 1, "{url}");
        }
    }
}

#[tokio::test]
async fn a_redirect_to_a_hostile_service_url_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let stranger = Channel::new();
        let elsewhere = stranger.serve().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {}/v3/conversations/a%3Aada/activities\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url
        );
        let redirecting = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let transport = HttpTransport::builder().build().unwrap();
        let connector = Connector::unauthenticated(transport);
        let conversation = ConversationId::from("a:ada");
        let error = connector
            .send_to_conversation(&url, &conversation, &Activity::message("hi"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Rejected, "{status}");
        redirecting.await.unwrap();
        assert_eq!(stranger.requests(), 0, "{status}");
    }
}
