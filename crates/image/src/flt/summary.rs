//! What an image holds, as a report.

use serde::Serialize;

use super::layer::Layer;
use super::reader::Image;
use super::tables::Region;

/// An image in one page; serialises to the object `image inspect --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// Size of a chunk.
    pub chunk_bytes: u64,
    /// Memory the image holds, zeros included.
    pub memory_bytes: u64,
    /// When the memory was so: nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
    /// The program that made the image.
    pub tool_version: String,
    /// Where parts of the memory lay, by offset.
    pub regions: Vec<RegionSummary>,
    /// The layers, top first.
    pub layers: Vec<LayerSummary>,
}

/// One layer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LayerSummary {
    /// The object.
    pub object: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// Its length in bytes.
    pub object_bytes: u64,
    /// Bytes its chunks take in it.
    pub stored_bytes: u64,
    /// Chunks stored in it.
    pub stored_chunks: u64,
    /// Chunks that are one word over and over.
    pub filled_chunks: u64,
    /// Chunks equal to one stored before, here or further down.
    pub shared_chunks: u64,
}

/// One region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RegionSummary {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where it lies in the memory of the image.
    pub offset: u64,
    /// Bytes of it the image holds.
    pub held_bytes: u64,
    /// `r`, `w`, `x` or `-` each, as `/proc/PID/maps` prints them.
    pub access: String,
}

impl Image {
    /// Says what the image holds; reads nothing beyond what opening read.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let top = self.top();
        Summary {
            chunk_bytes: self.chunk_size().bytes().0,
            memory_bytes: self.memory().0,
            time_unix_ns: top.footer.time_unix_ns,
            tool_version: top.tables.tool_version.clone(),
            regions: self.regions().iter().map(RegionSummary::from).collect(),
            layers: self.layers.iter().map(LayerSummary::of).collect(),
        }
    }
}

impl LayerSummary {
    fn of(layer: &Layer) -> LayerSummary {
        let footer = &layer.footer;
        LayerSummary {
            object: layer.name.clone(),
            id: footer.id.to_string(),
            object_bytes: layer.len(),
            stored_bytes: footer.index_at - super::footer::HEAD_LEN as u64,
            stored_chunks: footer.counts.stored,
            filled_chunks: footer.counts.filled,
            shared_chunks: footer.counts.shared,
        }
    }
}

impl From<&Region> for RegionSummary {
    fn from(region: &Region) -> RegionSummary {
        RegionSummary {
            start: region.address.0,
            // Regions that overflow are refused when tables are read.
            end: region.address.0 + region.len.0,
            offset: region.offset.0,
            held_bytes: region.held.0,
            access: region.access.to_string(),
        }
    }
}
