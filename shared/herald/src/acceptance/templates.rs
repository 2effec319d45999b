//! Templates of requests: one that is named is looked up, and one that makes no message is refused.

use std::borrow::Cow;

use botframework::lossless::LosslessJson;

use super::{Acceptor, Error};
use crate::backend::Backend;
use crate::problem::Fault;
use crate::store::Registry;
use crate::template::{self, RenderingError, TemplateRecord};

impl<B: Backend> Acceptor<'_, B> {
    /// The document with the message of the template that it names. Later versions of the template change nothing of what is accepted.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such template.
    pub async fn with_template<'d>(
        &self,
        document: &'d LosslessJson,
    ) -> Result<Cow<'d, LosslessJson>, Error> {
        let Some(name) = template::named_in(document) else {
            return Ok(Cow::Borrowed(document));
        };
        let message = match template::built_in(name) {
            Some(message) => Some(message),
            None => {
                let stored: Option<TemplateRecord> = self.registry.find_record(name).await?;
                stored.and_then(|stored| stored.message())
            }
        };
        let message = message.ok_or_else(|| {
            let detail = "names no template that is stored: `GET /api/templates` lists them";
            Error::Invalid(vec![Fault::new("#/template", detail)])
        })?;
        Ok(Cow::Owned(template::filled_in(document, &message)))
    }
}

/// The template at this place makes no message.
pub(super) fn unrenderable(at: &str, error: RenderingError) -> Error {
    let detail = format!("makes no message of this data: {error}");
    Error::Invalid(vec![Fault::new(at, detail)])
}
