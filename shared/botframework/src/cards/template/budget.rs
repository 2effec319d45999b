//! Bounds of a rendering.

use std::cell::Cell;

use serde_json::Value as Json;

use super::error::RenderError;
use super::{MAX_DEPTH, MAX_OUTPUT_BYTES, MAX_WORK};

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// An unknown path, or a function that has no result for its arguments.
    Unresolved,
    /// The rendering ends.
    Bound(RenderError),
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::Bound(error)
    }
}

/// What a rendering may still use.
pub(super) struct Budget {
    work: Cell<usize>,
    output: Cell<usize>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            work: Cell::new(MAX_WORK),
            output: Cell::new(MAX_OUTPUT_BYTES),
        }
    }

    /// Takes steps: one for an expression, and one for each eight bytes that are read or made.
    pub(super) fn work(&self, steps: usize) -> Result<(), RenderError> {
        let left = self
            .work
            .get()
            .checked_sub(steps)
            .ok_or(RenderError::TooMuchWork)?;
        self.work.set(left);
        Ok(())
    }

    /// Takes bytes of the result.
    pub(super) fn output(&self, bytes: usize) -> Result<(), RenderError> {
        let left = self
            .output
            .get()
            .checked_sub(bytes)
            .ok_or(RenderError::TooLarge)?;
        self.output.set(left);
        Ok(())
    }

    /// Takes a whole value of the result, which stands so many levels deep in it.
    pub(super) fn output_value(&self, value: &Json, level: usize) -> Result<(), RenderError> {
        self.output(size(value, level)?)
    }

    /// A copy of a value for an expression.
    pub(super) fn copy(&self, value: &Json) -> Result<Json, RenderError> {
        self.work(1 + size(value, 0)? / 8)?;
        Ok(value.clone())
    }
}

/// About the bytes of a value as JSON.
///
/// # Errors
/// When it has more levels than [`MAX_DEPTH`], with those above it.
pub(super) fn size(value: &Json, level: usize) -> Result<usize, RenderError> {
    if level > MAX_DEPTH {
        return Err(RenderError::TooDeep);
    }
    Ok(match value {
        Json::Null | Json::Bool(_) => 5,
        Json::Number(_) => 8,
        Json::String(text) => text.len() + 3,
        Json::Array(items) => items
            .iter()
            .try_fold(2, |sum, item| Ok(sum + size(item, level + 1)?))?,
        Json::Object(members) => members.iter().try_fold(2, |sum, (name, member)| {
            Ok(sum + name.len() + 4 + size(member, level + 1)?)
        })?,
    })
}
