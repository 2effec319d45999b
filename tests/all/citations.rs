//! Links between the repository's papers, and citations of them in comments, have a target.
//!
//! In `.md` files: each relative link, and its anchor. In `.rs` files and `.md` files: each citation of an anchor, such as
//! `PROTOCOL.md#d6`; the name alone identifies the paper. Each `error_type` of a log line is in the glossary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The papers that are cited by name alone.
const PAPERS: [(&str, &str); 2] = [
    ("PROTOCOL.md", "shared/botframework/PROTOCOL.md"),
    ("DESIGN.md", "shared/herald/DESIGN.md"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(1)
        .unwrap()
        .to_owned()
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Every source and paper below `folder`, without build output and hidden files.
fn texts(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                texts(&path, found);
            }
        } else if is(&path, "rs") || is(&path, "md") {
            let text = fs::read_to_string(&path).unwrap();
            found.insert(path, text);
        }
    }
}

fn all() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    texts(&root(), &mut found);
    found
}

/// The lines of a paper that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// The anchors of a paper: explicit ones, and those that GitHub makes of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for line in prose(text) {
        for explicit in line.split("<a id=\"").skip(1) {
            found.extend(explicit.split('"').next().map(str::to_owned));
        }
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            found.insert(slug(heading.trim()));
        }
    }
    found
}

/// The anchor that GitHub makes of a heading.
fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The targets of the links in a line: what stands in `](…)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The citations in a text: each paper's name with the anchor behind it.
fn citations(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    PAPERS.into_iter().flat_map(move |(name, paper)| {
        text.match_indices(name).filter_map(move |(at, _)| {
            let anchor = text[at + name.len()..].strip_prefix('#')?;
            let end = anchor.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
            Some((paper, &anchor[..end.unwrap_or(anchor.len())]))
        })
    })
}

#[test]
fn every_link_between_papers_has_a_target() {
    let texts = all();
    let mut dangling = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| is(path, "md")) {
        for target in prose(text).flat_map(links) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            let leads = fs::canonicalize(&file).is_ok_and(|file| {
                anchor.is_empty()
                    || fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(anchor))
            });
            if !leads {
                dangling.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(dangling.is_empty(), "{dangling:#?}");
}

#[test]
fn every_citation_in_a_comment_has_a_target() {
    let anchors: BTreeMap<&str, BTreeSet<String>> = PAPERS
        .into_iter()
        .map(|(_, paper)| (paper, anchors(&fs::read_to_string(root().join(paper)).unwrap())))
        .collect();
    let mut dangling = Vec::new();
    for (path, text) in all() {
        for (paper, anchor) in citations(&text) {
            if !anchors[paper].contains(anchor) {
                dangling.push(format!("{}: {paper}#{anchor}", path.display()));
            }
        }
    }
    assert!(dangling.is_empty(), "{dangling:#?}");
}

#[test]
fn the_protocol_is_cited_by_anchors_alone() {
    // A chapter's letter without the paper and the anchor cannot be followed.
    let is_loose = |line: &str| {
        line.split("protocol ").skip(1).any(|rest| {
            let mut rest = rest.trim_start_matches('`').chars();
            let letter = rest.next().is_some_and(|letter| ('A'..='H').contains(&letter));
            letter && rest.next().is_none_or(|next| !next.is_alphanumeric())
        })
    };
    for (path, text) in all() {
        let found: Vec<&str> = text.lines().filter(|line| is_loose(line)).collect();
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
    }
}

#[test]
fn every_log_word_is_in_the_glossary() {
    let glossary = fs::read_to_string(root().join("functions/notify/README.md")).unwrap();
    let mut missing = BTreeSet::new();
    for (path, text) in all() {
        if !is(&path, "rs") || path.starts_with(root().join("tests")) {
            continue;
        }
        for word in text
            .split("error_type = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            if !glossary.contains(&format!("`{word}`")) {
                missing.insert(word.to_owned());
            }
        }
    }
    assert!(
        missing.is_empty(),
        "functions/notify/README.md#log-words: {missing:?}"
    );
}

#[test]
fn an_anchor_is_made_as_github_makes_it() {
    assert_eq!(slug("States and reasons"), "states-and-reasons");
    assert_eq!(slug("`GET /api/notify`, why?"), "get-apinotify-why");
    let text = "<a id=\"d6\"></a>\n\n### D.6 Errors\n```\n# no heading\n```\n";
    let expected = ["d6", "d6-errors"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
}
