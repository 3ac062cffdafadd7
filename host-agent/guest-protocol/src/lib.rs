//! What a host agent and a guest agent say to each other.
#![forbid(unsafe_code)]
