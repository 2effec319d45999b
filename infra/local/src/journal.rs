//! A map that outlives the host, in a file of JSON lines: `[key, value]`, or `[key]` when the key was removed.
//!
//! A line is appended for each change, so the file is complete whenever the process is killed. It is not flushed to the
//! disk: a power failure may lose the last lines.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::data::{private_file, write_private};

/// A file is rewritten when it has this many bytes, and four times as many as are needed.
const REWRITE_BYTES: usize = 4 * 1024 * 1024;

/// The map.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// The lines that are still needed, by key.
    lines: BTreeMap<String, String>,
    /// The bytes of those lines, and of the file.
    needed: usize,
    written: usize,
}

impl Journal {
    /// Opens the file, and returns its entries by key. A last line that was cut off is ignored: its change never was.
    pub(crate) fn open(path: &Path) -> io::Result<(Journal, Vec<(String, Value)>)> {
        let text = io::read_to_string(private_file(path)?)?;
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        for line in text.lines() {
            match serde_json::from_str::<Vec<Value>>(line).as_deref() {
                Ok([Value::String(key), value]) => drop(entries.insert(key.clone(), value.clone())),
                Ok([Value::String(key)]) => drop(entries.remove(key)),
                Ok(_) | Err(_) => {}
            }
        }
        let mut journal = Journal {
            path: path.to_owned(),
            file: private_file(path)?,
            lines: entries
                .iter()
                .map(|(key, value)| (key.clone(), line(&(key, value))))
                .collect(),
            needed: 0,
            written: 0,
        };
        journal.rewrite()?;
        Ok((journal, entries.into_iter().collect()))
    }

    /// Sets the value of a key.
    pub(crate) fn put(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        let line = line(&(key, value));
        self.needed += line.len();
        let replaced = self.lines.insert(key.to_owned(), line.clone());
        self.needed -= replaced.map_or(0, |replaced| replaced.len());
        self.append(&line)
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: &str) -> io::Result<()> {
        match self.lines.remove(key) {
            Some(removed) => {
                self.needed -= removed.len();
                self.append(&line(&(key,)))
            }
            None => Ok(()),
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())?;
        self.written += line.len();
        if self.written >= REWRITE_BYTES && self.written / 4 >= self.needed {
            self.rewrite()?;
        }
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let text: String = self.lines.values().map(String::as_str).collect();
        write_private(&self.path, &text)?;
        self.file = private_file(&self.path)?;
        (self.needed, self.written) = (text.len(), text.len());
        Ok(())
    }
}

/// A line in one piece: it is written by one call.
fn line(entry: &impl Serialize) -> String {
    // Keys are texts and values are plain data, which always have a JSON form.
    let mut line = serde_json::to_string(entry).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::data::tests::Temporary;

    /// A path in an empty directory.
    fn place() -> (Temporary, PathBuf) {
        let place = Temporary::new();
        fs::create_dir(&place.0).unwrap();
        let path = place.0.join("queues.jsonl");
        (place, path)
    }

    fn reopened(path: &Path) -> Vec<(String, Value)> {
        Journal::open(path).unwrap().1
    }

    #[test]
    fn what_was_put_and_not_removed_is_there_again() {
        let (_place, path) = place();
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert!(entries.is_empty());
        journal.put("b", &json!({"text": "two\nlines"})).unwrap();
        journal.put("a", &1).unwrap();
        journal.put("c", &2).unwrap();
        journal.put("a", &3).unwrap();
        journal.remove("c").unwrap();
        journal.remove("never").unwrap();
        let expected = vec![
            ("a".into(), json!(3)),
            ("b".into(), json!({"text": "two\nlines"})),
        ];
        // Twice: opening rewrites the file.
        assert_eq!(reopened(&path), expected);
        assert_eq!(reopened(&path), expected);
    }

    #[test]
    fn a_line_that_was_cut_off_is_a_change_that_never_was() {
        let (_place, path) = place();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.put("a", &1).unwrap();
        journal.put("b", &2).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 2]).unwrap();
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries, [("a".to_owned(), json!(1))]);
        journal.put("c", &3).unwrap();
        assert_eq!(reopened(&path).len(), 2, "the next line is not glued to it");
    }

    #[test]
    fn the_file_does_not_grow_with_the_number_of_changes() {
        let (_place, path) = place();
        let (mut journal, _) = Journal::open(&path).unwrap();
        let long = "x".repeat(1024 * 1024);
        for _ in 0..20 {
            journal.put("a", &long).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 6 * 1024 * 1024);
        assert_eq!(reopened(&path), [("a".to_owned(), json!(long))]);
    }
}
