//! A sent message, and SQS's digests of it.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// An attribute of a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with an optional custom suffix after a dot.
    pub data_type: String,
    /// The value of a `String` or `Number`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// A message as it was sent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Message {
    /// The body.
    pub body: String,
    /// The attributes, by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// The fair-queue group.
    pub group: Option<String>,
}

impl Message {
    /// The size in SQS's terms: body, and names, types and values of attributes, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, attribute)| {
            let value = attribute
                .string_value
                .as_ref()
                .or(attribute.binary_value.as_ref())
                .map_or(0, String::len);
            name.len() + attribute.data_type.len() + value
        });
        self.body.len() + attributes.sum::<usize>()
    }

    /// `MD5OfMessageBody`, in hexadecimal.
    pub(super) fn body_digest(&self) -> String {
        hexadecimal(&Md5::digest(&self.body))
    }

    /// `MD5OfMessageAttributes`: the attributes sorted by name; each name, type and value has a prefix of its length in
    /// four bytes, and the value another byte for text or binary. `None` without attributes.
    pub(super) fn attributes_digest(&self) -> Option<String> {
        if self.attributes.is_empty() {
            return None;
        }
        let mut digest = Md5::new();
        for (name, attribute) in &self.attributes {
            part(&mut digest, name.as_bytes());
            part(&mut digest, attribute.data_type.as_bytes());
            match (&attribute.string_value, &attribute.binary_value) {
                (None, Some(encoded)) => {
                    digest.update([2]);
                    part(&mut digest, &BASE64_STANDARD.decode(encoded).unwrap_or_default());
                }
                (text, _) => {
                    digest.update([1]);
                    part(&mut digest, text.as_deref().unwrap_or_default().as_bytes());
                }
            }
        }
        Some(hexadecimal(&digest.finalize()))
    }
}

fn part(digest: &mut Md5, bytes: &[u8]) {
    digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(bytes);
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_that_aws_sends() {
        let timestamp = Attribute {
            data_type: "Number".into(),
            string_value: Some("1493147359900".into()),
            binary_value: None,
        };
        let message = Message {
            body: "derp".into(),
            attributes: BTreeMap::from([("timestamp".into(), timestamp)]),
            group: None,
        };
        assert_eq!(message.body_digest(), "58fd9edd83341c29f1aebba81c31e257");
        assert_eq!(
            message.attributes_digest().unwrap(),
            "235c5c510d26fb653d073faed50ae77c"
        );
    }

    #[test]
    fn a_message_without_attributes_has_no_digest_of_them() {
        assert_eq!(Message::default().attributes_digest(), None);
    }
}
