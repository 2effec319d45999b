//! Adaptive Cards: [`template`] makes a card from a template and data, [`notification`] the card of a notification from its fields.

pub mod notification;
pub mod template;
