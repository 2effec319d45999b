//! Adaptive Cards: [`template`] makes a card from a template and data.

pub mod template;
