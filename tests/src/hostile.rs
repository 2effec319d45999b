//! Service URLs that an attacker may use.

use botframework::cloud::Cloud;

/// Variations of the first Teams host of this cloud, and the hosts of the other clouds.
///
/// # Panics
///
/// The fixture is damaged.
#[allow(clippy::unwrap_used, reason = "a fixture is there or nothing can be tested")]
pub fn service_urls(cloud: Cloud) -> Vec<String> {
    let table: Vec<(String, String)> =
        serde_json::from_str(include_str!("../fixtures/hostile-service-urls.json")).unwrap();
    let host = cloud.endpoints().teams_hosts[0];
    let (first, domain) = host.split_once('.').unwrap();
    let (_, parent) = domain.split_once('.').unwrap();
    let filled = table.into_iter().map(|(_, template)| {
        template
            .replace("{host}", host)
            .replace("{first}", first)
            .replace("{domain}", domain)
            .replace("{parent}", parent)
            .replace("{tail}", &host[1..])
            .replace("{long}", &"a".repeat(1024))
    });
    let elsewhere = Cloud::ALL.into_iter().filter(|other| *other != cloud);
    let elsewhere = elsewhere.flat_map(|other| other.endpoints().teams_hosts);
    filled
        .chain(elsewhere.map(|host| format!("https://{host}/teams/")))
        .collect()
}
