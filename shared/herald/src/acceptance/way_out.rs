//! Decides the way out of a notification: the choice of its category, or of the deployment.

use super::Acceptor;
use super::confirmation::listed_recipients;
use crate::backend::Backend;
use crate::category::Category;
use crate::notification::request::Request;
use crate::notification::way_out::{WayOut, WayOutForm};

impl<B: Backend> Acceptor<'_, B> {
    /// The way out of a notification to many, whose category may be declared. There is none if nothing is to be opted out of, or
    /// the message has no room for it.
    pub(super) fn way_out(&self, request: &Request, category: Option<&Category>) -> Option<WayOut> {
        if request.mandatory || listed_recipients(&request.audience) == Some(1) {
            return None;
        }
        let own = category.and_then(|category| category.way_out);
        let way_out = WayOut {
            form: own.unwrap_or(self.settings.way_out),
            category: request.category.clone().filter(|_| category.is_some()),
        };
        let is_wanted = way_out.form != WayOutForm::None && way_out.fits(&request.message.activity);
        is_wanted.then_some(way_out)
    }
}
