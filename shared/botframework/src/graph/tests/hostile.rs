//! Ids that would like to be more than ids.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hostile_id_stays_one_segment_and_one_literal(
        person in hostile(), app in hostile(), installation in hostile(), manifest in hostile(),
    ) {
        let sky = Sky::always(200, "", r#"{"value":[]}"#);
        let graph = sky.graph();
        let (person, app) = (user(&person), CatalogAppId::from(app));
        run(async {
            graph.installation(&person, &app).await.unwrap();
            graph.catalog_app(&manifest).await.unwrap();
            graph.install_for_user(&person, &app).await.unwrap();
            graph.uninstall(&person, &InstallationId::from(&*installation)).await.unwrap();
        });
        let [looked, catalog, install, uninstall] = sky.asked().try_into().unwrap();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let segments = |line: &str| -> Vec<String> {
            let path = line.split_once("https://graph.microsoft.com/").unwrap().1;
            path.split('?').next().unwrap().split('/').map(decoded).collect()
        };
        let apps = ["v1.0", "users", person.as_str(), "teamwork", "installedApps"];
        prop_assert_eq!(segments(&looked.line), apps);
        prop_assert_eq!(segments(&install.line), apps);
        prop_assert_eq!(segments(&uninstall.line), [&apps[..], &[&*installation]].concat());
        let filter = |line: &str| {
            let query = line.split_once('?').unwrap().1;
            let value = query.split('&').find_map(|pair| pair.strip_prefix("$filter=")).unwrap();
            decoded(value)
        };
        prop_assert_eq!(quoted(&filter(&looked.line), "teamsApp/id eq "), app.as_str());
        prop_assert_eq!(quoted(&filter(&catalog.line), "externalId eq "), manifest);
        let body: Value = serde_json::from_str(&install.body).unwrap();
        let bound = body["teamsApp@odata.bind"].as_str().unwrap();
        let of_app = segments(bound);
        prop_assert_eq!(of_app, ["v1.0", "appCatalogs", "teamsApps", app.as_str()]);
    }
}

/// Ids with whatever could end a literal, a segment, a query or a line.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z0-9-]{1,4}",
        Just("'".to_owned()),
        Just("' or 1 eq 1 or '".to_owned()),
        Just("/".to_owned()),
        Just("../".to_owned()),
        Just("?$filter=".to_owned()),
        Just("#".to_owned()),
        Just("&".to_owned()),
        Just("%27".to_owned()),
        Just("%2F".to_owned()),
        Just("\r\nhost: x".to_owned()),
        Just("ä€".to_owned()),
        Just("\u{0}".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
    ];
    proptest::collection::vec(piece, 1..6)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("dots alone are refused", |id| !matches!(id.as_str(), "." | ".."))
}

/// Reads `<start>'…'` as `OData` does, up to the first quote that is not doubled, which must be the end.
fn quoted(filter: &str, start: &str) -> String {
    let mut rest = filter
        .strip_prefix(start)
        .unwrap()
        .strip_prefix('\'')
        .unwrap()
        .chars();
    let mut text = String::new();
    loop {
        match rest.next().unwrap() {
            '\'' if rest.as_str().is_empty() => return text,
            '\'' => {
                assert_eq!(rest.next(), Some('\''), "the literal ended early in {filter}");
                text.push('\'');
            }
            other => text.push(other),
        }
    }
}
