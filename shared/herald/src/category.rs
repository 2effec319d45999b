//! Categories: what kinds of notifications there are, as people see them when they opt out.
//!
//! A notification may have a category that is not declared here: people opt out of it by the API only, or by opting out of everything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audience::kind;
use crate::notification::request::is_category;
use crate::notification::way_out::WayOutForm;
use crate::problem::{Fault, Faults, pointer, suggestion};
use crate::schedule::{QuietChoice, stored_choice};
use crate::store::catalogue::{self, Catalogue};
use crate::store::{Collection, Error, Record, Registry};

/// The most categories: all of them fit on one card, and into one record.
pub const CATEGORIES_MAX: usize = 50;

/// The longest title, in bytes.
const TITLE_BYTES_MAX: usize = 100;

/// The longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 500;

/// The fields of a category.
const FIELDS: [&str; 4] = ["title", "description", "quietHours", "wayOut"];

/// A category, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Category {
    /// What it is called.
    pub title: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The hours in which its notifications are held, or that none are; `None` leaves them to the tenant. What a person chose counts
    /// more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "stored_choice"
    )]
    pub quiet_hours: Option<QuietChoice>,
    /// The way out of its notifications to many; that of the deployment if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_out: Option<WayOutForm>,
}

/// All categories, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Categories(pub BTreeMap<String, Category>);

impl Record for Categories {
    const COLLECTION: Collection = Collection::Categories;
}

impl Catalogue for Categories {
    type Entry = Category;

    const ENTRIES_MAX: usize = CATEGORIES_MAX;

    fn entries(&mut self) -> &mut BTreeMap<String, Category> {
        &mut self.0
    }
}

impl Category {
    /// Reads the category of this name.
    ///
    /// # Errors
    /// Every invalid field, with its JSON pointer.
    pub fn parse(name: &str, document: &Value) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        if !is_category(name) {
            let detail = "must be 1 to 64 bytes, not blank and without control characters";
            faults.note("name", detail);
        }
        let Value::Object(object) = document else {
            faults.note("#", format!("must be an object, found {}", kind(document)));
            return faults.none_in(None);
        };
        for unknown in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let detail = format!("is not a field of a category{}", suggestion(unknown, &FIELDS));
            faults.note(pointer("#", unknown), detail);
        }
        let mut text = |field: &str, bytes_max: usize| match object.get(field)? {
            Value::String(text) if is_line(text, bytes_max) => Some(text.clone()),
            other => {
                let detail = format!(
                    "must be a line of 1 to {bytes_max} bytes, not blank and without control characters, found {}",
                    kind(other)
                );
                faults.note(pointer("#", field), detail);
                None
            }
        };
        let title = text("title", TITLE_BYTES_MAX).unwrap_or_else(|| name.to_owned());
        let description = text("description", DESCRIPTION_BYTES_MAX);
        let quiet_hours = object
            .get("quietHours")
            .and_then(|value| QuietChoice::parse(value, "#/quietHours", &mut faults));
        let way_out = object.get("wayOut").and_then(|value| {
            let form = serde_json::from_value(value.clone()).ok();
            if form.is_none() {
                faults.note("#/wayOut", "must be \"none\", \"line\" or \"button\"");
            }
            form
        });
        faults.none_in(Some(Self {
            title,
            description,
            quiet_hours,
            way_out,
        }))
    }
}

fn is_line(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

impl Categories {
    /// The category that a person means by this text: its name or its title, in any case.
    pub fn meant_by(&self, text: &str) -> Option<(&str, &Category)> {
        let text = text.trim().to_lowercase();
        let found = self.0.iter().find(|(name, _)| name.to_lowercase() == text);
        let found = found.or_else(|| self.0.iter().find(|(_, it)| it.title.to_lowercase() == text));
        found.map(|(name, category)| (name.as_str(), category))
    }
}

/// The category of this name, if it is declared. Nothing is read without a name.
///
/// # Errors
/// When the store is unavailable.
pub async fn declared(registry: &impl Registry, name: Option<&str>) -> Result<Option<Category>, Error> {
    let Some(name) = name else { return Ok(None) };
    let Categories(mut all) = catalogue::all(registry).await?;
    Ok(all.remove(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_category_has_a_title_and_faults_name_their_fields() {
        let parsed = Category::parse("news", &json!({})).unwrap();
        assert_eq!((parsed.title.as_str(), parsed.description), ("news", None));
        let whole = json!({"title": "News", "description": "What is new", "wayOut": "button"});
        let whole = Category::parse("news", &whole).unwrap();
        assert_eq!(
            (whole.title.as_str(), whole.way_out),
            ("News", Some(WayOutForm::Button))
        );
        for (name, document, pointers) in [
            ("news", json!([]), vec!["#"]),
            ("", json!({}), vec!["name"]),
            (
                "news",
                json!({"title": " ", "descripton": "x"}),
                vec!["#/descripton", "#/title"],
            ),
            (
                "news",
                json!({"title": "x".repeat(101), "description": 5, "quietHours": 22}),
                vec!["#/title", "#/description", "#/quietHours"],
            ),
            ("news", json!({"title": "a\nb"}), vec!["#/title"]),
            ("news", json!({"wayOut": "link"}), vec!["#/wayOut"]),
        ] {
            let faults = Category::parse(name, &document).unwrap_err();
            let found: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{document}");
        }
    }

    #[test]
    fn people_mean_a_category_by_its_name_or_title() {
        let category = |title: &str| Category {
            title: title.to_owned(),
            description: None,
            quiet_hours: None,
            way_out: None,
        };
        let categories = Categories(BTreeMap::from([
            ("news".to_owned(), category("Neues aus dem Haus")),
            ("outages".to_owned(), category("News")),
        ]));
        let meant = |text| categories.meant_by(text).map(|(name, _)| name);
        assert_eq!(meant("NEWS "), Some("news"), "a name counts more than a title");
        assert_eq!(meant("neues aus dem haus"), Some("news"));
        assert_eq!(meant("weather"), None);
    }
}
