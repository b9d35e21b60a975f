//! Every chore of the project, as `cargo xtask NAME`.

fn main() {}
