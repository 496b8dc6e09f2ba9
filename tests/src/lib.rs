//! The host side of the proof.
