use super::*;

fn rule(cloud: Cloud) -> TrustRule {
    TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused)
}

/// What an attacker makes of a trusted host, with what each is refused for; the same that the tests across crates send
/// in, store and answer with. The hosts of the other clouds are among them.
fn hostile(cloud: Cloud, host: &str) -> Vec<(String, String)> {
    let table: Vec<(String, String)> = serde_json::from_str(include_str!(
        "../../../../tests/fixtures/hostile-service-urls.json"
    ))
    .unwrap();
    let (first, domain) = host.split_once('.').unwrap();
    let (_, parent) = domain.split_once('.').unwrap();
    let filled = table.into_iter().map(|(reason, template)| {
        let url = template
            .replace("{host}", host)
            .replace("{first}", first)
            .replace("{domain}", domain)
            .replace("{parent}", parent)
            .replace("{tail}", &host[1..])
            .replace("{long}", &"a".repeat(LONGEST));
        (url, reason)
    });
    let elsewhere = Cloud::ALL.into_iter().filter(|other| *other != cloud);
    let elsewhere = elsewhere.flat_map(|other| other.endpoints().teams_hosts);
    filled
        .chain(elsewhere.map(|host| (format!("https://{host}/teams/"), "Host".to_owned())))
        .collect()
}

#[test]
fn hostile_urls_are_refused_in_every_cloud() {
    for cloud in Cloud::ALL {
        for host in cloud.endpoints().teams_hosts {
            let table = hostile(cloud, host);
            assert!(table.len() >= 150);
            for (url, reason) in table {
                let refused = rule(cloud).check(&url).unwrap_err();
                assert_eq!(format!("{refused:?}"), reason, "{cloud:?} {url:?}");
            }
        }
    }
}

#[test]
fn trusting_other_channels_trusts_no_hostile_url() {
    for cloud in Cloud::ALL {
        let open = TrustRule::new(cloud, OtherChannels::Trusted, Loopback::Refused);
        for host in cloud.endpoints().teams_hosts {
            for (url, _) in hostile(cloud, host) {
                assert!(open.check(&url).is_err(), "{cloud:?} {url:?}");
            }
        }
        for domain in cloud.endpoints().other_channel_domains {
            assert!(open.check(&format!("https://{domain}/")).is_ok());
            assert!(open.check(&format!("https://europe.slack.{domain}/")).is_ok());
            assert!(
                open.check(&format!("https://WebChat.{}:443/v3", domain.to_uppercase()))
                    .is_ok()
            );
            for hostile in [
                format!("http://slack.{domain}/"),
                format!("https://slack.{domain}:8443/"),
                format!("https://evil{domain}/"),
                format!("https://evil-{domain}/"),
                format!("https://{domain}.evil.example/"),
                format!("https://.{domain}/"),
                // Not even a name for the HTTP client.
                format!("https://xn--slack.{domain}/"),
                format!("https://slack..{domain}/"),
                format!("https://slack.{domain}./"),
                format!("https://slack.{domain}@evil.example/"),
                format!("https://evil.example/.{domain}/"),
            ] {
                assert!(open.check(&hostile).is_err(), "{hostile}");
            }
            assert_eq!(
                rule(cloud).check(&format!("https://slack.{domain}/")),
                Err(Untrusted::Host)
            );
        }
    }
}

#[test]
fn the_hosts_of_a_cloud_are_trusted_in_no_other() {
    for cloud in Cloud::ALL {
        for other in Cloud::ALL {
            for host in other.endpoints().teams_hosts {
                assert_eq!(
                    rule(cloud).check(&format!("https://{host}/")).is_ok(),
                    cloud == other,
                    "{host}"
                );
            }
        }
    }
}

#[test]
fn known_service_urls_are_trusted_and_lose_one_slash() {
    for (url, base) in [
        (
            "https://smba.trafficmanager.net/teams/",
            "https://smba.trafficmanager.net/teams",
        ),
        (
            "https://smba.trafficmanager.net/amer-client-ss.msg/",
            "https://smba.trafficmanager.net/amer-client-ss.msg",
        ),
        (
            "https://smba.trafficmanager.net/emea/b0a7c0de-0000-4000-8000-00000000000a/",
            "https://smba.trafficmanager.net/emea/b0a7c0de-0000-4000-8000-00000000000a",
        ),
        (
            "https://SMBA.TrafficManager.net:443/in",
            "https://SMBA.TrafficManager.net:443/in",
        ),
        (
            "https://smba.infra.gcc.teams.microsoft.com/teams",
            "https://smba.infra.gcc.teams.microsoft.com/teams",
        ),
        (
            "https://smba.trafficmanager.net",
            "https://smba.trafficmanager.net",
        ),
    ] {
        assert_eq!(rule(Cloud::Public).check(url).unwrap().as_str(), base);
    }
    for cloud in Cloud::ALL {
        assert!(
            cloud
                .endpoints()
                .service_url
                .is_none_or(|url| rule(cloud).check(url).is_ok())
        );
    }
}

#[test]
fn this_machine_is_trusted_only_when_the_rule_says_so() {
    let here = [
        "http://localhost:3979",
        "http://localhost/",
        "https://localhost:56150/_connector",
        "http://127.0.0.1:1/",
        "http://[::1]:65535/x/",
        "http://LOCALHOST:80",
    ];
    let nearly = [
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.2/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[::1].evil.example/",
        "http://[::1]x/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://127.1/",
        "http://2130706433/",
        "http://localhost./",
        "http://localhost:0/",
        "http://localhost:99999/",
        "http://localhost:3979@evil.example/",
        "http://user@localhost/",
        "http://localhost:3979/../x",
        "ws://localhost/",
    ];
    for loopback in [Loopback::Refused, Loopback::Trusted, Loopback::Only] {
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Trusted, loopback);
        for url in here {
            assert_eq!(rule.check(url).is_ok(), loopback != Loopback::Refused, "{url}");
        }
        for url in nearly {
            assert!(rule.check(url).is_err(), "{url}");
        }
        let cloud = loopback != Loopback::Only;
        assert_eq!(rule.check("https://smba.trafficmanager.net/in/").is_ok(), cloud);
        assert_eq!(rule.check("https://slack.botframework.com/").is_ok(), cloud);
    }
}

#[test]
fn an_extra_host_is_trusted_exactly() {
    let ring = rule(Cloud::Public).with_host("canary.botapi.skype.com").unwrap();
    assert!(ring.check("https://canary.botapi.skype.com/amer/").is_ok());
    assert!(ring.check("https://smba.trafficmanager.net/amer/").is_ok());
    for url in [
        "https://x.canary.botapi.skype.com/",
        "https://botapi.skype.com/",
        "http://canary.botapi.skype.com/",
    ] {
        assert!(ring.check(url).is_err(), "{url}");
    }
    for host in [
        "",
        "localhost",
        "*.skype.com",
        "10.0.0.1",
        "[::1]",
        "a..b",
        "a.b.",
        "a.b:443",
        "a.b/c",
        "a.0x7f",
    ] {
        assert_eq!(
            rule(Cloud::Public).with_host(host),
            Err(InvalidHost(host.to_owned()))
        );
    }
}
