//! A public type name stands for one thing in the workspace.
//!
//! The sources of the product are read, not compiled: `pub` types and those that the macros of the wire schema declare. The
//! crate of the tests is left out: a fake has the name of the thing that it stands in for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the product.
const PRODUCT: [&str; 3] = ["functions", "infra", "shared"];

/// Names that several modules share, and why.
const SHARED: [(&str, &str); 25] = [
    ("Error", "the error of its module"),
    (
        "Context",
        "what the handler of its function needs; what a handler of a bot is given: `app::Context`",
    ),
    ("State", "the state of its module's record"),
    (
        "Class",
        "the remedy of a service's error: `connector::Class`, `graph::Class`",
    ),
    (
        "Reason",
        "why a service's request failed: `connector::Reason`, `graph::Reason`",
    ),
    (
        "Conversations",
        "the port of the store, and its implementation in DynamoDB",
    ),
    (
        "Notifications",
        "the port of the store, and its implementation in DynamoDB",
    ),
    (
        "Ledger",
        "the port of the store, and its implementation in DynamoDB",
    ),
    (
        "Registry",
        "the port of the store, and its implementation in DynamoDB",
    ),
    (
        "Queue",
        "the port, its implementations in SQS and memory; on the local host, a queue of SQS and of the template",
    ),
    (
        "Events",
        "the port and its implementation in memory; on the local host, the stream of all that happens",
    ),
    (
        "Event",
        "an event of EventBridge; on the local host, one of its own stream",
    ),
    ("Conversation", "on the local host, one of its model of Teams"),
    ("Failure", "on the local host, of a function and of a batch"),
    ("Limits", "on the local host, the limits of its model of Teams"),
    ("Limit", "on the local host, a limit of its model of Teams"),
    ("Member", "on the local host, a member in its model of Teams"),
    ("Message", "on the local host, of SQS and of its model of Teams"),
    (
        "Received",
        "on the local host, a message that its model of SQS delivered",
    ),
    (
        "Route",
        "from an event to a notification; on the local host, a route of the HTTP API",
    ),
    ("Request", "on the local host, a request to its model of Teams"),
    (
        "Role",
        "of an account; on the local host, a role of IAM in the template",
    ),
    (
        "Scope",
        "the scope of a conversation: open on the wire, closed in the engine",
    ),
    ("Template", "of a card; on the local host, of CloudFormation"),
    ("Tenant", "on the local host, of its model of Teams"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The name that a line of a source declares.
fn declared(line: &str, in_macro: &mut bool) -> Option<String> {
    let code = line.trim_start();
    if ["wire_object! {", "open_enum! {", "id! {"]
        .iter()
        .any(|call| code.starts_with(call))
    {
        *in_macro = true;
        return None;
    }
    let name = |text: &str| {
        let name: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
        name.starts_with(|first: char| first.is_ascii_uppercase())
            .then_some(name)
    };
    if *in_macro {
        // The first name of the call is the type.
        let found = name(code);
        *in_macro = found.is_none();
        return found;
    }
    let item = code.strip_prefix("pub ")?;
    ["struct ", "enum ", "trait ", "type ", "union "]
        .iter()
        .find_map(|keyword| name(item.strip_prefix(keyword)?))
}

/// The files that declare each name.
fn declarations() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in PRODUCT {
        sources(&root.join(folder), &mut files);
    }
    let mut found: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(root).unwrap();
        let mut in_macro = false;
        for name in text.lines().filter_map(|line| declared(line, &mut in_macro)) {
            found.entry(name).or_default().insert(relative.to_owned());
        }
    }
    found
}

#[test]
fn a_public_type_name_stands_for_one_thing() {
    let declarations = declarations();
    assert!(
        declarations.len() > 300,
        "the sources are not where they should be"
    );
    let (shared, double): (Vec<_>, Vec<_>) = declarations
        .into_iter()
        .filter(|(_, files)| files.len() > 1)
        .partition(|(name, _)| SHARED.iter().any(|(shared, _)| shared == name));
    assert!(double.is_empty(), "each of these names two things: {double:#?}");
    let shared: BTreeSet<&str> = shared.iter().map(|(name, _)| name.as_str()).collect();
    let stale: Vec<_> = SHARED.iter().filter(|(name, _)| !shared.contains(name)).collect();
    assert!(stale.is_empty(), "these names are no longer shared: {stale:?}");
}

#[test]
fn declarations_are_found_in_items_and_in_the_macros_of_the_wire() {
    let text = "pub struct One;\n    pub enum Two {\n        Three,\n    }\nstruct Private;\nwire_object! {\n    /// Doc.\n    Four {\n        \"id\" id: Five,\n    }\n}\npub type Six<T> = Seven<T>;\npub(crate) trait Eight {}\n";
    let mut in_macro = false;
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| declared(line, &mut in_macro))
        .collect();
    assert_eq!(found, ["One", "Two", "Four", "Six"]);
}
