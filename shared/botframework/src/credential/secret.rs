use std::fmt;

use zeroize::Zeroizing;

/// A text that must not be seen: it cannot be printed or serialised, and is wiped when it goes.
///
/// What is sent is copied into buffers of the HTTP client, which nobody wipes: wiping ends the long life of a
/// secret, not every trace of it.
///
/// ```compile_fail
/// # let secret = botframework::credential::Secret::from(String::new());
/// println!("{secret}");
/// ```
/// ```compile_fail
/// # let secret = botframework::credential::Secret::from(String::new());
/// serde_json::to_string(&secret);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text, for where it must go.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}
