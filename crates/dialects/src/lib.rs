//! The HTTP APIs we speak.
