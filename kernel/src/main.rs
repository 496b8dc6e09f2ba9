//! The Quire image.
#![no_std]
#![no_main]
