//! Who may speak to the bot.

mod attempt;
mod entra;
mod keys;
mod system;
mod table;
