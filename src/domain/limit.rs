//! What a limit
