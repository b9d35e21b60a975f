//! Images as their users meet them: written, layered, read from anywhere, damaged, cut short.

mod crash;
mod hostile;
mod import;
mod layers;
mod model;
mod sizes;
mod support;
