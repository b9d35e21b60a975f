//! The layers of an image, from the top to the one that stands by itself.
//!
//! # Invariants
//! - Each layer names the one below by name and id; a chain whose ids do not agree is not opened.
//! - All layers have chunks of one size.

use std::io;

use super::error::{Bad, ReadError};
use super::layer::Layer;
use super::store::Store;

/// Most layers of an image: a chunk is looked for in each.
pub(super) const LAYERS_MAX: usize = 64;

/// Opens a layer and all below it, top first.
pub(super) fn open(store: &dyn Store, name: &str) -> Result<Vec<Layer>, ReadError> {
    let mut layers = vec![Layer::open(store, name)?];
    loop {
        let top = layers.last().expect("at least one");
        let (Some(parent), Some(id)) = (&top.tables.parent, top.footer.parent) else {
            return Ok(layers);
        };
        // Depths fall by one a layer, so that a ring of layers ends here as well.
        if layers.len() == LAYERS_MAX {
            let expected = format!("at most {LAYERS_MAX} layers");
            return Err(Bad::new(0, "layers below", expected, parent).within(&top.name, 0));
        }
        let below = open_parent(store, &top.name, parent)?;
        if below.footer.id != id {
            return Err(ReadError::OtherParent {
                object: top.name.clone(),
                parent: parent.clone(),
                expected: id,
                found: below.footer.id,
            });
        }
        check_fit(top, &below)?;
        layers.push(below);
    }
}

fn open_parent(store: &dyn Store, object: &str, parent: &str) -> Result<Layer, ReadError> {
    let missing = |source: io::Error| ReadError::NoParent {
        object: object.to_owned(),
        parent: parent.to_owned(),
        source,
    };
    Layer::new(parent.to_owned(), store.open(parent).map_err(missing)?)
}

fn check_fit(top: &Layer, below: &Layer) -> Result<(), ReadError> {
    let (chunk, depth) = (top.footer.chunk, top.footer.depth);
    let bad = if below.footer.chunk != chunk {
        Bad::new(12, "chunk size", chunk.bytes().0, below.footer.chunk.bytes().0)
    } else if Some(below.footer.depth) != depth.checked_sub(1) {
        Bad::new(76, "layers below", u64::from(depth).saturating_sub(1), below.footer.depth)
    } else {
        return Ok(());
    };
    Err(bad.within(&below.name, below.footer.at()))
}
