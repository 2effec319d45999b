//! What the tests share: fixtures and the fake channel.
