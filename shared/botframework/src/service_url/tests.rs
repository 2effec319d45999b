use super::*;

fn rule(cloud: Cloud) -> TrustRule {
    TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused)
}

/// What an attacker makes of a trusted host, with what each is refused for.
fn hostile(host: &str) -> Vec<(String, Untrusted)> {
    [
        hostile_schemes(host),
        hostile_authorities(host),
        hostile_neighbours(host),
        hostile_paths(host),
    ]
    .concat()
}

fn hostile_schemes(host: &str) -> Vec<(String, Untrusted)> {
    vec![
        (format!("http://{host}/"), Untrusted::Scheme),
        (format!("HTTPS://{host}/"), Untrusted::Scheme),
        (format!("ftp://{host}/"), Untrusted::Scheme),
        (format!("//{host}/"), Untrusted::Scheme),
        (host.to_owned(), Untrusted::Scheme),
        (format!("https:{host}/"), Untrusted::Scheme),
        (format!("https:/{host}/"), Untrusted::Scheme),
        (format!("https:\\\\{host}/"), Untrusted::Scheme),
        (format!(" https://{host}/"), Untrusted::Scheme),
        (format!("\u{feff}https://{host}/"), Untrusted::Scheme),
        ("javascript:alert(1)".to_owned(), Untrusted::Scheme),
    ]
}

fn hostile_authorities(host: &str) -> Vec<(String, Untrusted)> {
    let (first_label, domain) = host.split_once('.').unwrap();
    vec![
        (format!("https://{host}@evil.example/"), Untrusted::Authority),
        (format!("https://user@{host}/"), Untrusted::Authority),
        (format!("https://user:password@{host}/"), Untrusted::Authority),
        (format!("https://{host}:443@evil.example/"), Untrusted::Authority),
        (format!("https://evil.example\\@{host}/"), Untrusted::Authority),
        (format!("https://evil.example\\.{host}/"), Untrusted::Authority),
        (format!("https://{host}\\.evil.example/"), Untrusted::Authority),
        (format!("https:///{host}/"), Untrusted::Authority),
        (format!("https:////{host}/"), Untrusted::Authority),
        ("https://".to_owned(), Untrusted::Authority),
        ("https:///".to_owned(), Untrusted::Authority),
        (format!("https://{host}."), Untrusted::Authority),
        (format!("https://{host}./"), Untrusted::Authority),
        (format!("https://.{host}/"), Untrusted::Authority),
        (format!("https://{first_label}..{domain}/"), Untrusted::Authority),
        (format!("https://{host} /"), Untrusted::Authority),
        (format!("https://{host}\t/"), Untrusted::Authority),
        (format!("https://{first_label}\n.{domain}/"), Untrusted::Authority),
        (format!("https://{host}\0/"), Untrusted::Authority),
        (
            format!("https://{host}\r\nHost: evil.example/"),
            Untrusted::Authority,
        ),
        (format!("https://{first_label}%2e{domain}/"), Untrusted::Authority),
        (format!("https://{host}%00.evil.example/"), Untrusted::Authority),
        (
            format!("https://{first_label}\u{3002}{domain}/"),
            Untrusted::Authority,
        ),
        (format!("https://\u{ff53}{}/", &host[1..]), Untrusted::Authority),
        (format!("https://\u{0455}{}/", &host[1..]), Untrusted::Authority),
        (
            format!("https://{first_label}\u{ad}.{domain}/"),
            Untrusted::Authority,
        ),
        (format!("https://[{host}]/"), Untrusted::Authority),
        (format!("https://_.{host}/"), Untrusted::Authority),
        (format!("https://*.{domain}/"), Untrusted::Authority),
    ]
}

fn hostile_neighbours(host: &str) -> Vec<(String, Untrusted)> {
    let (_, domain) = host.split_once('.').unwrap();
    let parent = domain.split_once('.').map_or(domain, |(_, parent)| parent);
    vec![
        (format!("https://evil.{host}/"), Untrusted::Host),
        (format!("https://{host}.evil.example/"), Untrusted::Host),
        (format!("https://evil-{host}/"), Untrusted::Host),
        (format!("https://{host}x/"), Untrusted::Host),
        (format!("https://{}/", &host[1..]), Untrusted::Host),
        (format!("https://evil.{domain}/"), Untrusted::Host),
        (format!("https://{domain}/"), Untrusted::Host),
        (format!("https://{parent}/"), Untrusted::Host),
        (format!("https://xn--{host}/"), Untrusted::Host),
        (format!("https://evil.example/{host}/"), Untrusted::Host),
        (format!("https://evil.example?{host}/"), Untrusted::Host),
        (format!("https://evil.example#@{host}/"), Untrusted::Host),
        (
            "https://evil.trafficmanager.net/teams/".to_owned(),
            Untrusted::Host,
        ),
        (
            "https://x.smba.trafficmanager.net/teams/".to_owned(),
            Untrusted::Host,
        ),
        ("https://trafficmanager.net/".to_owned(), Untrusted::Host),
        (
            "https://botframework.com.evil.example/".to_owned(),
            Untrusted::Host,
        ),
        ("https://notbotframework.com/".to_owned(), Untrusted::Host),
        ("https://graph.microsoft.com/".to_owned(), Untrusted::Host),
        (
            "https://rented.blob.core.windows.net/".to_owned(),
            Untrusted::Host,
        ),
        // Addresses and this machine.
        ("https://52.112.0.1/".to_owned(), Untrusted::Host),
        (
            "https://169.254.169.254/latest/meta-data/".to_owned(),
            Untrusted::Host,
        ),
        ("https://[2001:db8::1]/".to_owned(), Untrusted::Authority),
        ("https://[::ffff:127.0.0.1]/".to_owned(), Untrusted::Authority),
        ("https://0x7f.1/".to_owned(), Untrusted::Host),
        ("http://localhost:3979/".to_owned(), Untrusted::Host),
        ("https://LocalHost/".to_owned(), Untrusted::Host),
        ("http://127.0.0.1/".to_owned(), Untrusted::Host),
        ("http://[::1]:80/".to_owned(), Untrusted::Host),
    ]
}

fn hostile_paths(host: &str) -> Vec<(String, Untrusted)> {
    vec![
        // Ports.
        (format!("https://{host}:444/"), Untrusted::Port),
        (format!("https://{host}:80/"), Untrusted::Port),
        (format!("https://{host}:/"), Untrusted::Authority),
        (format!("https://{host}:0443/"), Untrusted::Authority),
        (format!("https://{host}:65979/"), Untrusted::Authority),
        (format!("https://{host}:+443/"), Untrusted::Authority),
        (format!("https://{host}:443:443/"), Untrusted::Authority),
        (
            format!("https://{host}:\u{0664}\u{0664}\u{0663}/"),
            Untrusted::Authority,
        ),
        // Paths.
        (format!("https://{host}/?evil"), Untrusted::Path),
        (format!("https://{host}?x=https://evil.example"), Untrusted::Path),
        (format!("https://{host}#"), Untrusted::Path),
        (format!("https://{host}/amer#x"), Untrusted::Path),
        (format!("https://{host}/../"), Untrusted::Path),
        (format!("https://{host}/amer/../../x/"), Untrusted::Path),
        (format!("https://{host}/./amer/"), Untrusted::Path),
        (format!("https://{host}/amer/.."), Untrusted::Path),
        (format!("https://{host}/%2e%2e/"), Untrusted::Path),
        (format!("https://{host}//evil.example/"), Untrusted::Path),
        (format!("https://{host}/amer//"), Untrusted::Path),
        (format!("https://{host}/amer\\..\\"), Untrusted::Path),
        (format!("https://{host}/am er/"), Untrusted::Path),
        (format!("https://{host}/amer/\n"), Untrusted::Path),
        (format!("https://{host}/amer;jsessionid=1/"), Untrusted::Path),
        (format!("https://{host}/@evil.example"), Untrusted::Path),
        (format!("https://{host}/\u{e9}/"), Untrusted::Path),
        // Sizes.
        (String::new(), Untrusted::Empty),
        (
            format!("https://{host}/{}", "a".repeat(LONGEST)),
            Untrusted::TooLong,
        ),
    ]
}

#[test]
fn hostile_urls_are_refused_in_every_cloud() {
    for cloud in Cloud::ALL {
        for host in cloud.endpoints().teams_hosts {
            let table = hostile(host);
            assert!(table.len() >= 40);
            for (url, reason) in table {
                assert_eq!(rule(cloud).check(&url), Err(reason), "{cloud:?} {url:?}");
            }
        }
    }
}

#[test]
fn trusting_other_channels_trusts_no_hostile_url() {
    for cloud in Cloud::ALL {
        let open = TrustRule::new(cloud, OtherChannels::Trusted, Loopback::Refused);
        for host in cloud.endpoints().teams_hosts {
            for (url, _) in hostile(host) {
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
