//! Nothing: the measurements are in `benches/`, one question each, and need no library.
#![forbid(unsafe_code)]
