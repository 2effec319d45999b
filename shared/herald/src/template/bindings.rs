//! What the expressions of a template read: the data of a request, and its texts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::texts::Texts;
use crate::audience::{RESERVED, kind};
use crate::problem::{Faults, pointer};

/// The most bytes of `data`, and of `texts`, as JSON.
pub const DATA_BYTES_MAX: usize = 256 * 1024;

/// The data and the texts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bindings {
    /// The data, the same for each recipient.
    pub data: Map<String, Value>,
    /// The texts, of which each recipient gets those in their language.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub texts: Texts,
}

impl Bindings {
    /// Those of a request; `None` if it has neither `data` nor `texts`, so that its message is no template.
    pub fn parse(object: &Map<String, Value>, faults: &mut Faults) -> Option<Self> {
        let (data, texts) = (object.get("data"), object.get("texts"));
        if data.is_none() && texts.is_none() {
            return None;
        }
        for (value, at) in [(data, "#/data"), (texts, "#/texts")] {
            let bytes = value.map_or(0, |value| value.to_string().len());
            if bytes > DATA_BYTES_MAX {
                faults.note(at, format!("may have {DATA_BYTES_MAX} bytes, found {bytes}"));
            }
        }
        Some(Self {
            data: data.map(|data| members(data, faults)).unwrap_or_default(),
            texts: texts
                .map(|texts| Texts::parse(texts, "#/texts", faults))
                .unwrap_or_default(),
        })
    }
}

fn members(data: &Value, faults: &mut Faults) -> Map<String, Value> {
    let Value::Object(members) = data else {
        faults.note("#/data", format!("must be an object, found {}", kind(data)));
        return Map::new();
    };
    for name in RESERVED.iter().filter(|name| members.contains_key(**name)) {
        let detail = "cannot be a name of the data: an expression reads Herald's own there";
        faults.note(pointer("#/data", name), detail);
    }
    members.clone()
}
