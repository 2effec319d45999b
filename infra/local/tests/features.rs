//! One build serves all: cargo compiles a dependency once for each set of features that is asked of it, and the AWS SDK
//! takes a minute.

// Clippy takes only what is marked as a test for one, not what tests share.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, env, process::Command};

/// What a build asks of its dependencies: their features, by name and version.
fn features(arguments: &[&str]) -> BTreeMap<String, String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args([
            "tree",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
            "--locked",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    // A package that was listed before has a mark at its end.
    let lines = text
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    lines
        .map(|(package, features)| (package.to_owned(), features.to_owned()))
        .collect()
}

/// What the tests' own HTTP client asks more of. They are compiled twice, in seconds; nothing of the SDK stands on them.
const ASKED_MORE_BY_REQWEST: [&str; 4] = ["hyper-util", "sync_wrapper", "tower", "tower-http"];

#[test]
fn cargo_run_and_cargo_test_ask_the_same_features_of_what_they_share() {
    let run = features(&["--edges", "normal,build"]);
    let test = features(&["--workspace", "--edges", "normal,build,dev"]);
    let differ: Vec<_> = run
        .iter()
        .filter_map(|(package, run)| Some((package, run, test.get(package)?)))
        .filter(|(_, run, test)| run != test)
        .filter(|(package, _, _)| {
            let name = package.split(' ').next().unwrap_or_default();
            !ASKED_MORE_BY_REQWEST.contains(&name)
        })
        .collect();
    assert!(
        differ.is_empty(),
        "compiled twice, with the features of run and of test: {differ:#?}"
    );
}
