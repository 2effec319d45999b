//! Authentication of inbound activities.

mod attempt;
mod entra;
mod keys;
mod system;
mod table;
