//! What `/proc/PID/pagemap` shows.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | the word of a page |

mod entry;
