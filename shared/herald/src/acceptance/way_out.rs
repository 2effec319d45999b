//! Decides the way out of a notification: the choice of its category, or of the deployment.

use super::Acceptor;
use super::confirmation::listed_recipients;
use crate::backend::Backend;
use crate::category::{self, Category};
use crate::notification::request::Request;
use crate::notification::way_out::{WayOut, WayOutForm};
use crate::store;

impl<B: Backend> Acceptor<'_, B> {
    /// The way out of a notification to many. There is none if nothing is to be opted out of, or the message has no room for it.
    pub(super) async fn way_out(&self, request: &Request) -> Result<Option<WayOut>, store::Error> {
        if request.mandatory || listed_recipients(&request.audience) == Some(1) {
            return Ok(None);
        }
        let declared = match &request.category {
            Some(name) => category::all(self.registry).await?.0.remove(name),
            None => None,
        };
        let own = declared.as_ref().and_then(|category: &Category| category.way_out);
        let way_out = WayOut {
            form: own.unwrap_or(self.settings.way_out),
            category: request.category.clone().filter(|_| declared.is_some()),
        };
        let is_wanted = way_out.form != WayOutForm::None && way_out.fits(&request.message);
        Ok(is_wanted.then_some(way_out))
    }
}
