//! Messages that are made from a template: of the data of a request, of what is known of each recipient, and of texts in their
//! language.
//!
//! The language is that of [`botframework::cards::template`]. A request is a template if it has `data`, `texts` or rows, or names a
//! stored template; in any other, `${` is text. Of the data of its expressions, three names are Herald's own:
//!
//! | name | |
//! |---|---|
//! | `recipient` | what is known of the recipient: [`recipient`] |
//! | `notification` | `id`, `acceptedAt`, `category` and `subject` of the notification |
//! | `texts` | the texts of the request, each in the language of the recipient: [`Texts`] |
//!
//! A template that reads neither `recipient` nor `texts` is rendered once, when the notification is accepted, and is an ordinary
//! message from then on. Another one is stored as a [`MessageSource`], and rendered for each recipient when it is sent to.

mod bindings;
mod recipient;
mod renderer;
mod source;
mod stored;
mod texts;

pub use bindings::{Bindings, DATA_BYTES_MAX};
pub use recipient::recipient;
pub use renderer::{MessageRenderer, RenderingError};
pub use source::{MessageSource, check};
pub use stored::{TemplateRecord, built_in, filled_in, is_template_name, named_in, with_stand_in};
pub use texts::{ANY_LANGUAGE, Texts};

#[cfg(test)]
mod tests;
