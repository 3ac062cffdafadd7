//! The guest agent.
#![forbid(unsafe_code)]
