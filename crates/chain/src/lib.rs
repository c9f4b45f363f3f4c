//! See the module headers.
